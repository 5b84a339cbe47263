"""ONNX files made from seeds: random ensembles of every mode, and scikit-learn pipelines through skl2onnx.

What decides equality is ONNX Runtime on one thread: with more, its own sums depend on how the rows were shared out.
"""

import warnings

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

MODES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
FLOAT_VALUES = np.array([0, -0.0, 1, 2, 3, -1, 0.1, 1e-45, -1e-45, np.inf, -np.inf, 3.4e38], np.float32)
ROW_EXTRAS = [np.nan, 2.5, -0.5, 1e30, -1e30, np.inf, -np.inf, 1.0000001]


def answers(content, feeds):
    """The scores that ONNX Runtime gives, one row each: its last tensor or list of maps of floats."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    scores = None
    for out in session.run(None, feeds):
        if isinstance(out, list):
            scores = np.array([[row[k] for k in row] for row in out], np.float64)
        elif out.dtype in (np.float32, np.float64):
            scores = out.astype(np.float64)
    return scores.reshape(len(scores), -1)


def feeds_of(content, rows):
    """Rows shared out to the graph's inputs, in their types."""
    kinds = {TensorProto.FLOAT: np.float32, TensorProto.DOUBLE: np.float64, TensorProto.INT64: np.int64}
    feeds, at = {}, 0
    for value in onnx.load_from_string(content).graph.input:
        width = value.type.tensor_type.shape.dim[1].dim_value or rows.shape[1]
        with np.errstate(over="ignore"):
            feeds[value.name] = rows[:, at:at + width].astype(kinds[value.type.tensor_type.elem_type])
        at += width
    return feeds


# ---- ensembles ----

def finish(node, double, width, outputs, opset, labels=False):
    kind = TensorProto.DOUBLE if double else TensorProto.FLOAT
    out_kind = kind if opset == 5 else TensorProto.FLOAT
    outs = [helper.make_tensor_value_info("Y", out_kind, [None, outputs])]
    if labels:
        outs.insert(0, helper.make_tensor_value_info("L", TensorProto.INT64, [None]))
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("X", kind, [None, width])], outs)
    opsets = [helper.make_opsetid("ai.onnx.ml", opset), helper.make_opsetid("", 15)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()


def grow(rng, depth, width, values, mode):
    nodes = []

    def go(level):
        at = len(nodes)
        nodes.append(None)
        if level == 0 or (at > 0 and rng.random() < 0.2):
            nodes[at] = ("LEAF", 0, 0.0, 0, 0, 0)
            return at
        kind = mode or MODES[rng.integers(6)]
        yes, no = go(level - 1), go(level - 1)
        nodes[at] = (kind, int(rng.integers(width)), float(rng.choice(values)), yes, no, int(rng.random() < 0.3))
        return at

    go(depth)
    return nodes


def ensemble(seed):
    """A TreeEnsembleRegressor or -Classifier, rows for it, and what it is."""
    rng = np.random.default_rng(seed)
    width, trees = int(rng.integers(1, 5)), int(rng.integers(1, 12))
    double, classes = rng.random() < 0.3, rng.random() < 0.6
    outputs = int(rng.choice([2, 2, 2, 3, 4] if classes else [1, 1, 2, 3, 5]))
    post = str(rng.choice(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"], p=[0.35, 0.2, 0.25, 0.1, 0.1]))
    mode = rng.choice(["", "BRANCH_LEQ", "BRANCH_LT", "BRANCH_GT", "BRANCH_EQ"], p=[0.4, 0.3, 0.1, 0.1, 0.1])
    alone, dense = classes and outputs == 2 and rng.random() < 0.6, rng.random() < 0.6
    positive, size = rng.random() < 0.4, 0.1 if post == "PROBIT" else 1.0
    values = np.concatenate([rng.normal(size=6), [0, 1, 2, 0.1]]) if double else FLOAT_VALUES
    prefix = "class" if classes else "target"
    names = ["treeids", "nodeids", "featureids", "modes", "values", "truenodeids", "falsenodeids",
             "missing_value_tracks_true"]
    lists = {f"nodes_{name}": [] for name in names}
    votes = []
    for t in range(trees):
        voted = int(rng.integers(outputs))
        for i, (kind, feature, value, yes, no, track) in enumerate(
                grow(rng, int(rng.integers(0, 5)), width, values, str(mode))):
            for name, item in zip(lists, (t, i, feature, kind, value, yes, no, track)):
                lists[name].append(item)
            if kind == "LEAF":
                for k in [0] if alone else range(outputs) if dense else [voted]:
                    weight = float(np.float32(rng.normal() * size))
                    votes.append((t, i, k, abs(weight) if positive else weight))
    if rng.random() < 0.5:
        del lists["nodes_missing_value_tracks_true"]
    for k, name in enumerate(["treeids", "nodeids", "ids", "weights"]):
        lists[f"{prefix}_{name}"] = [vote[k] for vote in votes]
    if rng.random() < 0.5:
        count = outputs if classes and outputs > 2 else int(rng.choice([1, outputs]))
        lists["base_values"] = [float(np.float32(x * size)) for x in rng.normal(size=count)]
    if classes:
        lists["classlabels_int64s"] = list(range(outputs))
    else:
        lists["n_targets"] = outputs
        if rng.random() < 0.3:
            lists["aggregate_function"] = str(rng.choice(["AVERAGE", "MIN", "MAX"], p=[0.8, 0.1, 0.1]))
    for name in ["nodes_values", f"{prefix}_weights", "base_values"]:
        if double and name in lists:
            exact = np.array(lists.pop(name), np.float64)
            if name != "nodes_values":
                exact = exact * (1 + 1e-9)
            lists[f"{name}_as_tensor"] = numpy_helper.from_array(exact, name)
    op = "TreeEnsembleClassifier" if classes else "TreeEnsembleRegressor"
    node = helper.make_node(op, ["X"], ["L", "Y"] if classes else ["Y"], domain="ai.onnx.ml", post_transform=post,
                            **lists)
    rows = rng.choice(np.concatenate([values.astype(np.float64), rng.normal(size=5), ROW_EXTRAS]), size=(200, width))
    what = f"seed {seed}: {op} {outputs} {post} {mode}{' double' if double else ''}"
    return finish(node, double, width, outputs, 3 if double else 1, classes), rows, what


def ensemble5(seed):
    """A TreeEnsemble of version 5. Where a set is asked the rows are whole: of the others ONNX Runtime 1.32 cuts the
    fraction off if a set has values that do not fit its bit masks, which the standard does not say."""
    rng = np.random.default_rng(seed)
    width, outputs, double = int(rng.integers(1, 5)), int(rng.choice([1, 2, 4])), rng.random() < 0.4
    kind = np.float64 if double else np.float32
    values = np.array([0, 1, 2, 3, 5, -1, 0.5, -0.0, 1e-40, 7, 31, 32, 33, 63, 64], kind)
    wholes = np.array([0, 1, 2, 3, 5, -1, 7, 31, 32, 33, 63, 64, -0.0, 1000], kind)
    sets = rng.random() < 0.6
    columns = {name: [] for name in ["featureids", "modes", "splits", "truenodeids", "trueleafs", "falsenodeids",
                                     "falseleafs", "missing_value_tracks_true"]}
    targets, weights, members, roots = [], [], {}, []

    def leaf():
        if targets and rng.random() < 0.15:
            return int(rng.integers(len(targets)))  # shared
        targets.append(int(rng.integers(outputs)))
        weights.append(rng.normal())
        return len(targets) - 1

    def branch(level):
        at = len(columns["modes"])
        for name in columns:
            columns[name].append(0)
        mode = int(rng.choice(7 if sets else 6))
        columns["featureids"][at] = int(rng.integers(width))
        columns["modes"][at] = mode
        columns["splits"][at] = rng.choice(values)
        columns["missing_value_tracks_true"][at] = int(rng.random() < 0.25)
        if mode == 6:
            members[at] = list(rng.choice(wholes, size=rng.integers(1, 9)))
        for side in ("true", "false"):
            is_leaf = level == 0 or rng.random() < 0.25
            columns[f"{side}leafs"][at] = int(is_leaf)
            columns[f"{side}nodeids"][at] = leaf() if is_leaf else branch(level - 1)
        return at

    for _ in range(int(rng.integers(1, 6))):
        roots.append(branch(int(rng.integers(0, 5))))
    lists = {f"nodes_{name}": column for name, column in columns.items()}
    lists["nodes_modes"] = numpy_helper.from_array(np.array(columns["modes"], np.uint8), "modes")
    lists["nodes_splits"] = numpy_helper.from_array(np.array(columns["splits"], kind), "splits")
    lists["leaf_weights"] = numpy_helper.from_array(np.array(weights, kind), "weights")
    if members:
        runs = np.concatenate([[*members[at], np.nan] for at in sorted(members)])
        lists["membership_values"] = numpy_helper.from_array(runs.astype(kind), "members")
    if rng.random() < 0.4:
        del lists["nodes_missing_value_tracks_true"]
    post = int(rng.choice([0, 0, 0, 0, 1, 2, 3, 4]))
    node = helper.make_node("TreeEnsemble", ["X"], ["Y"], domain="ai.onnx.ml", n_targets=outputs, tree_roots=roots,
                            leaf_targetids=targets, aggregate_function=int(rng.integers(2)), post_transform=post, **lists)
    some = np.concatenate([values.astype(np.float64), wholes.astype(np.float64), ROW_EXTRAS])
    rows = rng.choice(some, size=(200, width))
    if members:
        rows = np.where((rows == np.floor(rows)) & (np.abs(rows) < 1e6), rows, 4.0)
    return finish(node, double, width, outputs, 5), rows, f"seed {seed}: TreeEnsemble {outputs} {post}"


# ---- pipelines ----

def estimator(rng):
    """A scikit-learn model and the kind of labels it wants."""
    from sklearn import ensemble as e
    from sklearn import linear_model as l
    from sklearn import tree as t
    small = {"max_depth": int(rng.integers(1, 6)), "random_state": 0}
    many = {"n_estimators": int(rng.integers(1, 12)), **small}
    steps = {"max_iter": int(rng.integers(1, 12)), **small}
    kinds = [
        (t.DecisionTreeRegressor(**small), "number"), (t.DecisionTreeClassifier(**small), "class"),
        (t.ExtraTreeRegressor(**small), "number"), (t.DecisionTreeRegressor(**small), "two numbers"),
        (e.RandomForestRegressor(**many), "number"), (e.RandomForestClassifier(**many), "class"),
        (e.ExtraTreesRegressor(**many), "number"), (e.ExtraTreesClassifier(**many), "class"),
        (e.GradientBoostingRegressor(**many), "number"), (e.GradientBoostingClassifier(**many), "class"),
        (e.HistGradientBoostingRegressor(**steps), "number"), (e.HistGradientBoostingClassifier(**steps), "class"),
        (l.LinearRegression(), "number"), (l.LinearRegression(), "two numbers"), (l.Ridge(), "number"),
        (l.Lasso(alpha=0.01), "number"), (l.ElasticNet(alpha=0.01), "number"), (l.LogisticRegression(), "class"),
        (l.PoissonRegressor(), "count"), (l.GammaRegressor(), "count"), (l.TweedieRegressor(power=1.5), "count"),
        (l.SGDClassifier(loss="log_loss", random_state=0), "class"), (l.RidgeClassifier(), "class"),
        (e.AdaBoostClassifier(n_estimators=2, random_state=0), "class"),
    ]
    return kinds[rng.integers(len(kinds))]


def preparation(rng):
    """Steps before it, and whether they stand NaN."""
    from sklearn import preprocessing as p
    from sklearn.impute import SimpleImputer
    scalers = [p.StandardScaler(), p.StandardScaler(with_mean=False), p.StandardScaler(with_std=False),
               p.MinMaxScaler(feature_range=(-2, 3)), p.MaxAbsScaler(), p.RobustScaler()]
    steps = []
    filled = rng.random() < 0.3
    if filled:
        steps.append(SimpleImputer(strategy=str(rng.choice(["mean", "median", "constant"]))))
    for _ in range(rng.choice([0, 1, 1, 2])):
        steps.append(scalers[rng.integers(len(scalers))])
    if rng.random() < 0.07:
        steps.append(p.Normalizer(norm=str(rng.choice(["l1", "l2", "max"]))))
    return steps, filled


def labels(rng, kind, x):
    y = x[:, 0] * 2 + rng.normal(size=len(x))
    if kind == "class":
        count = int(rng.choice([2, 2, 3, 5]))
        codes = np.digitize(y, np.quantile(y, np.linspace(0, 1, count + 1)[1:-1]))
        return np.array(["a", "b", "c", "d", "e"])[codes] if rng.random() < 0.3 else codes * 3 - 1
    if kind == "count":
        return rng.poisson(np.exp(np.clip(y / 3, -3, 3))) + 1.0
    return np.stack([y, -y * 0.5 + x[:, -1]], axis=1) if kind == "two numbers" else y


def pipeline(seed):
    """(content, rows, what), content None if the converter or ONNX Runtime itself cannot have it."""
    from sklearn.pipeline import make_pipeline
    from skl2onnx import to_onnx
    rng = np.random.default_rng(seed)
    model, kind = estimator(rng)
    steps, filled = preparation(rng)
    width = int(rng.integers(1, 9))
    x = (rng.normal(size=(150, width)) * rng.choice([0.1, 1, 30], size=width)
         + rng.choice([0, 5, -100], size=width)).astype(np.float32)
    double = rng.random() < 0.25
    holes = rng.random(x.shape) < 0.1 if filled else np.zeros(x.shape, bool)
    fitted = make_pipeline(*steps, model)
    what = f"seed {seed}: {'+'.join(type(s).__name__ for s in [*steps, model])}{' double' if double else ''}"
    y = labels(rng, kind, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fitted.fit(np.where(holes, np.nan, x), y)
        options = {"zipmap": bool(rng.random() < 0.5)} if kind == "class" else None
        try:
            content = to_onnx(fitted, x[:1].astype(np.float64 if double else np.float32), options=options,
                              target_opset={"": 18, "ai.onnx.ml": 3}).SerializeToString()
            rows = np.concatenate([x, rng.normal(size=(60, width)) * 40]).astype(np.float64)
            rows[rng.random(rows.shape) < 0.03] = 0.0
            if filled or "HistGradient" in what:
                rows[rng.random(rows.shape) < 0.1] = np.nan
            answers(content, feeds_of(content, rows[:1]))
        except Exception:  # noqa: BLE001 the converter's and ONNX Runtime's limits are not ours
            return None, None, what
    return content, rows, what


# ---- how far a linear model may be off ----

def magnitude(content, rows):
    """Sums of magnitudes of a linear chain, computed as its graph runs but with every term positive; and the number of
    terms. None if the graph has no linear model."""
    model = onnx.load_from_string(content)
    values = {name: np.abs(feed.astype(np.float64)) for name, feed in feeds_of(content, rows).items()}
    constants = {t.name: np.abs(numpy_helper.to_array(t).astype(np.float64)) for t in model.graph.initializer
                 if t.data_type in (TensorProto.FLOAT, TensorProto.DOUBLE)}
    values.update(constants)
    for node in model.graph.node:
        attr = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        of = [values.get(name) for name in node.input]
        if node.op_type == "Scaler":
            out = (of[0] + np.abs(attr["offset"])) * np.abs(attr["scale"])
        elif node.op_type == "Imputer":
            fill = np.abs(np.array(attr["imputed_value_floats"]))
            out = np.where(np.isnan(of[0]), fill, of[0])
        elif node.op_type in ("LinearRegressor", "LinearClassifier"):
            biases = np.abs(np.array(attr["intercepts"]))
            return of[0] @ np.abs(np.array(attr["coefficients"])).reshape(len(biases), -1).T + biases, of[0].shape[1]
        elif node.op_type == "MatMul":
            sums = of[0] @ of[1].reshape(of[0].shape[1], -1)
            for after in model.graph.node:  # the intercepts are terms too
                if after.op_type == "Add" and after.input[0] == node.output[0]:
                    sums = sums + constants[after.input[1]].reshape(1, -1)
            return sums, of[0].shape[1]
        elif node.op_type in ("Add", "Sub"):
            out = of[0] + of[1]
        elif node.op_type == "Mul":
            out = of[0] * of[1]
        elif node.op_type == "Div":
            out = of[0] / of[1]
        elif node.op_type in ("Cast", "Identity"):
            out = of[0]
        else:
            return None
        values[node.output[0]] = out
    return None
