"""search: train children on a proxy, the best of them in full, export one; and measure how well proxies rank them."""

from dataclasses import replace
from typing import Any

from dsopt.jobs.job import Job
from dsopt.jobs.search import page, study
from dsopt.jobs.search.best import best
from dsopt.jobs.search.children import children, proxy_of, together
from dsopt.jobs.search.page import SearchStages
from dsopt.jobs.search.trials import FULL, Trials
from dsopt.pipeline.plan import Plan
from dsopt.pipeline.step import check_needs
from dsopt.progress import say
from dsopt.stages import distill, ingest
from dsopt.storage import Stage, Table


def planned(plan: Plan) -> SearchStages:
    """All stages of a search.

    Raises:
        InputError: an impossible proxy, space or strategy, as far as that is known in advance.
    """
    search = plan.config.search
    proxy = proxy_of(search.proxy or {"data": "full"}, "search.proxy")
    truth, studied = study.planned(plan)
    first = Trials("search", proxy, search.strategy, 0 if proxy.shared else search.children)
    last = Trials("finalists", FULL, search.strategy, search.finalists, search.seeds, search.finalists)
    found = children(plan, first)
    finalists = children(plan, last, search=found)
    return SearchStages(found, finalists, best(plan, finalists), truth, studied)


def with_set(plan: Plan) -> tuple[Plan, Stage | None]:
    """The plan with the folder of the set that `distill` describes for every {data: distilled}, and that set, if there is one."""
    search = plan.config.search
    if not any(proxy.get("data") == "distilled" for proxy in (*search.proxies, search.proxy)):
        return plan, None
    made = distill.artefact(plan)

    def placed(proxy: dict[str, Any]) -> dict[str, Any]:
        return proxy | {"data": made.uri} if proxy.get("data") == "distilled" else proxy

    placed_search = replace(search, proxy=placed(search.proxy), proxies=[placed(proxy) for proxy in search.proxies])
    return plan.having(replace(plan.config, search=placed_search)), made


def targets(plan: Plan) -> list[Stage]:
    """The page of the search; before it is distilled, the set that it searches on: only then its learned rates are known."""
    plan, made = with_set(plan)
    return [page.page(plan, planned(plan))] if made is None or made.done() else [made]


def search(plan: Plan) -> None:
    """Run a search and print its results. The data set comes first: only then the number of images is known."""
    plan, made = with_set(plan)
    if made and not made.done():
        plan.run(made)
    planned(plan)  # a wrong configuration is refused before any work
    plan.run(ingest.images(plan))
    stages = planned(plan)
    report = page.page(plan, stages)
    check_needs(plan.to(report))
    together(plan, report)
    plan.run(report)
    page.print_results(plan.config, stages)
    child = Table(stages.child.uri).manifest
    say("child", child["child"])
    say("exported", stages.child.path(child["exported"]))
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
