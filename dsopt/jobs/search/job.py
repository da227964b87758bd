"""search: children are tried on a proxy, the best of them in full, one is exported; and how far proxies can be trusted."""

from dsopt.config import Config
from dsopt.jobs.job import Job
from dsopt.jobs.search import page as search_page
from dsopt.jobs.search import study as search_study
from dsopt.jobs.search.best import best
from dsopt.jobs.search.children import FULL, Trials, proxy_of, trials
from dsopt.jobs.search.page import Made
from dsopt.pipeline.step import Step, run, unique
from dsopt.progress import say
from dsopt.stages import ingest
from dsopt.storage import Table


def planned(config: Config) -> tuple[Made, list[Step]]:
    """All stages of a search, and the steps that make them, in order.

    Raises:
        InputError: a proxy, a space or a strategy that cannot be, as far as it can be known before.
    """
    search = config.search
    proxy = proxy_of(search.proxy or {"data": "full"}, "search.proxy")
    truth, studied, steps = search_study.planned(config)
    children = 0 if proxy.shared else search.children
    found, more = trials(config, Trials("search", proxy, search.strategy, children))
    last = Trials("finalists", FULL, search.strategy, search.finalists, search.seeds, search.finalists)
    finalists, final = trials(config, last, search=found)
    child = best(config, finalists)
    made = Made(found, finalists, child.stage, truth, studied)
    # Tables of children last, so that they are neighbours: all that need no other are made at once.
    tried = sorted([*steps, *more], key=lambda step: (step.stage.kind == "children") + step.together)
    return made, unique([*tried, *final, child, search_page.page(config, made)])


def plan(config: Config) -> list[Step]:
    return planned(config)[1]


def search(config: Config) -> None:
    """Run the plan, and tell what was found."""
    run(ingest.images(config)[1], config)
    made, steps = planned(config)
    run(steps, config)
    search_page.tell(config, made)
    say("child", Table(made.child.uri).manifest["child"])
    say("exported", made.child.path("child.pt"))
    say("report", steps[-1].stage.path("report.html"))


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
    plan=plan,
    run=search,
)
