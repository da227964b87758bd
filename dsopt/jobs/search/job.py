"""search: children are tried on a proxy, the best of them in full, one is exported; and how far proxies can be trusted."""

from dsopt.jobs.search import page, study
from dsopt.jobs.search.best import best
from dsopt.jobs.search.children import children, proxy_of, together
from dsopt.jobs.search.page import Made
from dsopt.jobs.search.trials import FULL, Trials
from dsopt.pipeline.plan import Plan
from dsopt.progress import say
from dsopt.stages import ingest
from dsopt.storage import Stage, Table


def planned(plan: Plan) -> Made:
    """All stages of a search.

    Raises:
        InputError: a proxy, a space or a strategy that cannot be, as far as it can be known before.
    """
    search = plan.config.search
    proxy = proxy_of(search.proxy or {"data": "full"}, "search.proxy")
    truth, studied = study.planned(plan)
    first = Trials("search", proxy, search.strategy, 0 if proxy.shared else search.children)
    last = Trials("finalists", FULL, search.strategy, search.finalists, search.seeds, search.finalists)
    found = children(plan, first)
    finalists = children(plan, last, search=found)
    return Made(found, finalists, best(plan, finalists), truth, studied)


def targets(plan: Plan) -> list[Stage]:
    """The page of the search."""
    return [page.page(plan, planned(plan))]


def search(plan: Plan) -> None:
    """Make the data set first: only then it is known how many images there are. Print what was found."""
    planned(plan)  # whatever is wrong with the configuration is refused before any work
    plan.run(ingest.images(plan))
    made = planned(plan)
    report = page.page(plan, made)
    together(plan, report)
    plan.run(report)
    page.tell(plan.config, made)
    child = Table(made.child.uri).manifest
    say("child", child["child"])
    say("exported", made.child.path(child["exported"]))
    say("report", report.path("report.html"))
