"""Models and rows for the XGBoost parity tests: everything follows from a seed."""

import json

import numpy as np
import xgboost as xgb

OBJECTIVES = [
    "reg:squarederror", "reg:squaredlogerror", "reg:logistic", "reg:pseudohubererror", "reg:absoluteerror",
    "reg:quantileerror", "binary:logistic", "binary:logitraw", "binary:hinge", "count:poisson", "reg:gamma",
    "reg:tweedie", "multi:softmax", "multi:softprob", "rank:pairwise", "rank:ndcg", "rank:map", "survival:cox",
    "survival:aft",
]
SINCE_2 = {"reg:quantileerror"}
MULTI_TARGET = {"reg:squarederror", "reg:logistic", "binary:logistic", "reg:pseudohubererror"}
LEAVES_REFRESHED = {"reg:absoluteerror", "reg:quantileerror"}  # these objectives need trees
FLOAT_MAX = float(np.finfo(np.float32).max)


def is_version_1():
    return xgb.__version__.startswith("1.")


def objectives():
    return [name for name in OBJECTIVES if not (is_version_1() and name in SINCE_2)]


def features(rng, rows, columns, categorical):
    """Numeric columns of several kinds; the columns in `categorical` hold small category numbers."""
    x = rng.normal(size=(rows, columns)).astype(np.float32)
    for j in range(columns):
        kind = rng.integers(6)
        if j in categorical:
            x[:, j] = rng.integers(0, categorical[j], rows)
        elif kind == 0:
            x[:, j] = rng.integers(-3, 4, rows)
        elif kind == 1:
            x[:, j] *= np.float32(1e-41)  # denormal floats
        elif kind == 2:
            x[:, j] *= np.float32(1e30)
    share = rng.choice([0.0, 0.0, 0.1, 0.6])
    x[rng.random(x.shape) < share] = np.nan
    return x


def labels(rng, objective, x, targets):
    signal = np.nan_to_num(np.sign(x[:, 0]) + 0.5 * np.tanh(x[:, -1])) + rng.normal(size=len(x)) * 0.5
    if objective in ("binary:hinge", "binary:logistic", "binary:logitraw", "rank:map") or objective == "reg:logistic":
        y = (signal > 0.3).astype(float)
    elif objective.startswith("multi:"):
        y = np.digitize(signal, [-0.7, 0.7]).astype(float)
    elif objective.startswith("rank:"):
        y = np.clip(np.round(signal + 2), 0, 4)
    elif objective == "count:poisson":
        y = np.round(np.exp(signal / 2))
    elif objective == "survival:cox":
        y = np.exp(signal) * np.where(rng.random(len(x)) < 0.3, -1, 1)
    elif objective in ("reg:gamma", "reg:tweedie", "reg:squaredlogerror", "survival:aft"):
        y = np.exp(signal)
    else:
        y = signal * rng.choice([1, 100, 1e-3]) + rng.choice([0, 1000])
    return np.stack([y] * targets, axis=1) if targets > 1 else y


def matrix(x, categorical, names=None):
    types = ["c" if j in categorical else "float" for j in range(x.shape[1])] if categorical else None
    return xgb.DMatrix(x, feature_types=types, feature_names=names, enable_categorical=bool(categorical), nthread=1)


def draw_booster(rng, params, objective, has_categories, targets):
    """Make one model in three something other than plain trees; what it is."""
    kind = rng.choice(["gbtree"] * 6 + ["dart", "gblinear", "vector"])
    if kind == "dart":
        params.update(booster="dart", rate_drop=float(rng.choice([0.2, 0.7])), one_drop=1,
                      normalize_type=str(rng.choice(["tree", "forest"])))
    elif kind == "gblinear" and not has_categories and objective not in LEAVES_REFRESHED:
        for name in ("tree_method", "max_depth", "grow_policy", "max_leaves", "gamma", "min_child_weight",
                     "max_cat_to_onehot", "num_parallel_tree", "subsample", "colsample_bynode"):
            params.pop(name, None)
        params.update(booster="gblinear", updater="coord_descent", reg_lambda=1.0)
    elif kind == "vector" and not is_version_1() and (targets > 1 or objective.startswith("multi:")):
        params.update(multi_strategy="multi_output_tree", tree_method="hist")
    else:
        return params["tree_method"]
    return kind


def train(seed):
    """-> booster, categorical {column: categories}, a line that says what it is."""
    rng = np.random.default_rng(seed)
    names = objectives()
    objective = names[seed % len(names)]
    columns = int(rng.choice([1, 2, 3, 7, 16, 41]))
    categorical = {}
    if rng.random() < 0.35:
        for j in rng.choice(columns, size=max(1, columns // 3), replace=False):
            categorical[int(j)] = int(rng.choice([2, 5, 33, 100]))
    targets = 2 if objective in MULTI_TARGET and not categorical and rng.random() < 0.2 else 1
    x = features(rng, int(rng.choice([30, 200, 400])), columns, categorical)
    y = labels(rng, objective, x, targets)
    data = matrix(x, categorical, [f"c{j}" for j in range(columns)] if rng.random() < 0.5 else None)
    if objective == "survival:aft":
        data.set_float_info("label_lower_bound", y)
        data.set_float_info("label_upper_bound", np.where(rng.random(len(y)) < 0.2, np.inf, y * 1.5))
    else:
        data.set_label(y)
    if objective.startswith("rank:"):
        data.set_group([len(x) // 2, len(x) - len(x) // 2])
    methods = ["hist", "approx"] if categorical else ["hist", "approx", "exact"]
    params = {
        "objective": objective, "nthread": 1, "seed": seed, "tree_method": str(rng.choice(methods)),
        "max_depth": int(rng.choice([0, 1, 2, 4, 6, 9])), "eta": float(rng.choice([0.1, 0.3, 1.0])),
        "gamma": float(rng.choice([0, 0, 0.5])), "min_child_weight": float(rng.choice([0, 1])),
        "max_cat_to_onehot": int(rng.choice([1, 4, 200])), "verbosity": 0,
    }
    if params["max_depth"] == 0:
        if params["tree_method"] == "exact":
            params["max_depth"] = 3
        else:
            params.update(grow_policy="lossguide", max_leaves=int(rng.choice([2, 7, 31])))
    if rng.random() < 0.2:
        params.update(num_parallel_tree=3, subsample=0.6)
        if params["tree_method"] != "exact":
            params.update(colsample_bynode=0.8)
    if objective.startswith("multi:"):
        params["num_class"] = 3
    if objective == "reg:quantileerror":
        params["quantile_alpha"] = [[0.5], [0.1, 0.5, 0.9]][int(rng.integers(2))]
    kind = draw_booster(rng, params, objective, bool(categorical), targets)
    if rng.random() < 0.3:
        params["base_score"] = float(rng.choice([0.5, 0.1, 0.97]))
    rounds = int(rng.choice([0, 1, 3, 10, 25], p=[0.04, 0.16, 0.3, 0.3, 0.2]))
    booster = xgb.train(params, data, rounds)
    booster.set_attr(best_iteration="0")  # Booster.predict pays no heed to it
    return booster, categorical, f"seed {seed}: {objective} {kind} {columns} columns {rounds} rounds"


def trees_of(booster):
    part = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    return part.get("gbtree", part)["model"].get("trees", [])


def thresholds(booster):
    """column -> thresholds of its numeric splits."""
    found = {}
    for tree in trees_of(booster):
        for left, column, value, kind in zip(tree["left_children"], tree["split_indices"], tree["split_conditions"],
                                             tree["split_type"]):
            if left >= 0 and not kind:
                found.setdefault(column, []).append(value)
    return found


def rows(booster, categorical, seed, count=300):
    """Rows as doubles: ordinary ones, gaps, thresholds with their neighbours, denormals, the ends of the range."""
    rng = np.random.default_rng(seed + 10**6)
    columns = booster.num_features()
    x = features(rng, count, columns, categorical).astype(np.float64)
    x[rng.random(x.shape) < 0.1] = np.nan
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, 1.17e-38, 5e-324, -5e-324, FLOAT_MAX, -FLOAT_MAX, 1e-30, 16777217.0])
    for j in range(columns):
        at = rng.random(count)
        if j in categorical:
            x[at < 0.1, j] = rng.integers(0, 2 * categorical[j] + 40)  # not seen in training
            x[(at > 0.1) & (at < 0.15), j] += 0.7  # truncated to the category
            continue
        x[at < 0.1, j] = rng.choice(odd, int((at < 0.1).sum()))
    for j, values in thresholds(booster).items():
        t = np.float32(rng.choice(values, count))
        near = np.stack([t, np.nextafter(t, np.float32(-np.inf)), np.nextafter(t, np.float32(np.inf))]).astype(np.float64)
        near = near[rng.integers(0, 3, count), np.arange(count)]
        between = near + (np.float64(t) - near) * rng.choice([0.49, 0.5, 0.51], count)  # doubles that round to a float
        kind = rng.random(count)
        x[:, j] = np.where(kind < 0.25, near, np.where(kind < 0.4, between, x[:, j]))
    return np.clip(x, -FLOAT_MAX, FLOAT_MAX)
