"""A rule reaches the subclasses it holds for, and no others."""

import pytest

from keras_spiking_nengo.registry import Registry


class Lif:
    tau = 0.02

    def step(self):
        return "lif"

    def label(self):
        return "lif"


class Slow(Lif):
    tau = 0.2

    def label(self):
        return "slow"


class Adaptive(Lif):
    def step(self):
        return "adaptive"


class SlowAdaptive(Adaptive):
    tau = 0.3


class Stepping:
    def step(self):
        return "mixin"


class Mixed(Stepping, Lif):
    pass


class Stranger:
    def step(self):
        return "stranger"


@pytest.fixture
def rules():
    rules = Registry("neuron type", governing=("step", "reset"))
    rules.add("rule of Lif", Lif)
    return rules


@pytest.mark.parametrize("thing", [Lif, Lif(), Slow, Slow()])
def test_a_rule_holds_for_instances_classes_and_subclasses(rules, thing):
    assert rules[thing] == rules.find(thing) == "rule of Lif"
    assert thing in rules and rules.get(thing, "none") == "rule of Lif"


@pytest.mark.parametrize("thing", [Adaptive, Adaptive(), SlowAdaptive(), Mixed()])
def test_a_redefined_governing_method_ends_the_search(rules, thing):
    assert thing not in rules and rules.get(thing, "none") == "none"
    with pytest.raises(NotImplementedError):
        rules[thing]


def test_the_error_names_class_reason_known_rules_and_remedy(rules):
    rules.add("other", Stepping)
    with pytest.raises(NotImplementedError) as caught:
        rules[SlowAdaptive()]
    message = str(caught.value)
    assert type(caught.value) is NotImplementedError
    assert f"No neuron type rule for {__name__}.SlowAdaptive" in message
    assert f"{__name__}.Adaptive redefines step" in message
    assert f"the rule of {__name__}.Lif does not hold" in message
    assert f"Known: {__name__}.Lif, {__name__}.Stepping." in message
    assert "register a rule" in message


def test_a_stranger_is_refused_without_a_false_reason(rules):
    with pytest.raises(NotImplementedError) as caught:
        rules.find(Stranger())
    assert f"{__name__}.Stranger" in str(caught.value)
    assert "redefines" not in str(caught.value)
    with pytest.raises(NotImplementedError, match="Known: none"):
        Registry("layer", governing=("call",))[Stranger]


def test_every_redefined_method_is_named():
    class Both(Lif):
        def step(self): ...

        def reset(self): ...

    rules = Registry("neuron type", governing=("step", "reset"))
    rules.add("rule", Lif)
    with pytest.raises(NotImplementedError, match="Both redefines step, reset"):
        rules[Both]


def test_the_nearest_registered_class_wins(rules):
    rules.add("rule of Adaptive", Adaptive)
    assert rules[SlowAdaptive()] == "rule of Adaptive"
    assert rules[Slow()] == "rule of Lif"
    # A class that redefines what governs needs a rule of its own, and then has it.
    rules.add("rule of Mixed", Mixed)
    assert rules[Mixed()] == "rule of Mixed"


def test_register_returns_what_it_decorates():
    rules = Registry("operator", governing=("make_step",))

    @rules.register(Lif, Adaptive)
    def function():
        return 1

    @rules.register(Stranger)
    class Rule:
        pass

    assert rules[Lif] is rules[Adaptive] is function
    assert function() == 1
    assert rules[Stranger] is Rule


@pytest.mark.parametrize("classes", [(Lif,), (Stranger, Lif), (Stranger, Stranger)])
def test_a_duplicate_raises_and_changes_nothing(rules, classes):
    with pytest.raises(ValueError, match=f"{classes[-1].__qualname__} has a neuron"):
        rules.add("another", *classes)
    with pytest.raises(ValueError, match="already"):
        rules.register(*classes)(lambda: None)
    assert rules[Lif] == "rule of Lif"
    assert Stranger not in rules


@pytest.mark.parametrize("classes", [(), (Lif(),), ("Lif",), (Stranger, None)])
def test_only_classes_are_registered(rules, classes):
    with pytest.raises(TypeError, match="one or more classes"):
        rules.add("rule", *classes)
    assert len(rules) == 1


def test_the_container_lists_what_is_registered(rules):
    rules.add("other", Adaptive)
    assert list(rules) == [Lif, Adaptive]
    assert len(rules) == 2
    assert rules.names() == [f"{__name__}.Adaptive", f"{__name__}.Lif"]


def test_governing_is_a_tuple_of_names():
    with pytest.raises(TypeError, match="'step'"):
        Registry("neuron type", governing="step")


def test_two_registries_are_independent(rules):
    assert Lif not in Registry("neuron type", governing=("step",))
