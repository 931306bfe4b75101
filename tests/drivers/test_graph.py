"""The graph of quanta and one passage through it."""

from hypothesis import given
from hypothesis import strategies as st

from mpidriver.drivers._campaign._graph import Graph, Walk
from mpidriver.drivers._quantum import DataId, Quantum


def quantum(number):
    return Quantum("task", DataId(exposure=number))


@st.composite
def graphs(draw):
    """Draw a random graph: each quantum needs and uses some of those before it."""
    graph = Graph()
    for number in range(draw(st.integers(1, 14))):
        kinds = draw(st.lists(st.sampled_from(["", "", "needs", "uses"]), min_size=number, max_size=number))
        graph.add(
            quantum(number),
            needs=[quantum(i) for i, kind in enumerate(kinds) if kind == "needs"],
            uses=[quantum(i) for i, kind in enumerate(kinds) if kind == "uses"],
        )
    return graph


def expected_states(graph, failing):
    """Return what becomes of each quantum, by the definition and in the simplest way."""
    states = {}
    for each in graph:
        node = graph[each]
        used = [states[source] == "done" for source in node.uses]
        if any(states[source] != "done" for source in node.needs) or (used and not any(used)):
            states[each] = "blocked"
        else:
            states[each] = "failed" if each in failing else "done"
    return states


@given(graphs(), st.data())
def test_a_walk_runs_each_quantum_once_after_its_inputs_or_blocks_it(graph, data):
    failing = {each for each in graph if data.draw(st.booleans())}
    walk = Walk(graph)
    ready, states = walk.start(), {}
    while ready:
        each = ready.pop(data.draw(st.integers(0, len(ready) - 1)))
        assert each not in states
        node = graph[each]
        assert all(source in states for source in (*node.needs, *node.uses))
        assert walk.inputs(each) == [source for source in (*node.needs, *node.uses) if states[source] == "done"]
        states[each] = "failed" if each in failing else "done"
        more, blocked = walk.end(each, succeeded=each not in failing)
        ready += more
        for user, culprit in blocked:
            assert states[culprit] != "done"
            states[user] = "blocked"
    assert states == expected_states(graph, failing)


@given(graphs())
def test_priority_is_the_heaviest_chain_that_starts_with_a_quantum(graph):
    def heaviest(each):
        return 1 + each.data_id.exposure + max(map(heaviest, graph[each].users), default=0)

    depths = graph.depths(lambda each: 1 + each.data_id.exposure)
    assert depths == {each: heaviest(each) for each in graph}
