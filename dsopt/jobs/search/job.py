"""search: children are tried on a proxy, the best of them in full, one is exported; and how far proxies can be trusted."""

from dsopt.jobs.job import Job
from dsopt.jobs.search import page, study
from dsopt.jobs.search.best import best
from dsopt.jobs.search.children import children, proxy_of, together
from dsopt.jobs.search.page import Made
from dsopt.jobs.search.trials import FULL, Trials
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import check_needs
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
    check_needs(plan.to(report))
    together(plan, report)
    plan.run(report)
    page.tell(plan.config, made)
    child = Table(made.child.uri).manifest
    say("child", child["child"])
    say("exported", made.child.path(child["exported"]))
    say("report", report.path("report.html"))


JOB = Job(
    about="""Search for a network: try many on a cheap proxy of full training, train the best in full, export one.

    dsopt search preset=search_demo                                   # 216 small networks on real digits: minutes on 2 cores
    dsopt search preset=search_dc720 data.name=cifar10 data.root=...  # the 720 ConvNets of the condensation papers
    dsopt search search.strategy.name=evolution 'search.proxy={data: random_balanced, images: 100, steps: 200}'

With search.proxies, it also measures how well proxies rank networks. Finished children are never trained again: after an
interruption, the same command resumes and gives the same children.
""",
    keys="""
    search.space search.strategy search.children search.proxy search.finalists search.seeds search.proxies search.known
    search.train search data.name data.root cluster.workers cluster.gpu storage seed
""",
    targets=targets,
    run=search,
)
