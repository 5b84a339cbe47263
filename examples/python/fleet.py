#!/usr/bin/env python3
"""A fleet from Python: a model per store and brand, registered, released, and asked by a DataFrame.

    export PATH=$PWD/build:$PATH            # the program `myriad`; the package: pip install build/myriad-*.whl
    python examples/python/fleet.py [FOLDER]

Needs numpy, pandas, lightgbm and scikit-learn. Read it from top to bottom, as a notebook.
"""
import pathlib
import sys
import tempfile

import lightgbm
import myriad
import numpy as np
import pandas as pd
from sklearn.linear_model import Ridge

folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp())

# %% Sales of 6 stores x 3 brands; each store reacts to prices in its own way, and brand c is only sold in two stores.
rng = np.random.default_rng(0)
sales = pd.DataFrame({"store": rng.integers(1, 7, 6000), "brand": rng.choice(["a", "b", "c"], 6000), "price": rng.uniform(1, 3, 6000).round(2),
                      "deal": rng.integers(0, 2, 6000).astype(float)})
sales = sales[(sales.brand != "c") | (sales.store <= 2)]
sales["units"] = 50 - sales.price * (4 + sales.store) + sales.deal * 8 + rng.normal(size=len(sales))
features = ["price", "deal"]

# %% A model per store and brand, one per brand for stores without their own, one for everything else.
models = {}
for (store, brand), rows in sales.groupby(["store", "brand"]):
    models[f"store={store},brand={brand}"] = lightgbm.LGBMRegressor(n_estimators=40, num_leaves=8, verbose=-1).fit(rows[features], rows.units)
for brand, rows in sales.groupby("brand"):
    models[f"brand={brand}"] = Ridge().fit(rows[features], rows.units)
models[""] = Ridge().fit(sales[features], sales.units)

# %% Into a registry, all at once; then a release, which is one file to open.
registry = myriad.Registry(folder / "prices", create=True)
print(f"registered {registry.register_many('units', models.items(), tags={'made': 'example'})} models")
release = registry.release("units")
print(f"release {release.number}: {release.models} models, {' and '.join(release.aliases)}")

# %% One call scores rows of many models. Columns are found by name.
pack = registry.open("units")
asked = pd.DataFrame({"store": [1, 6, 6, 99, 99], "brand": ["a", "b", "c", "a", "z"], "price": [1.5, 1.5, 1.5, 1.5, 1.5], "deal": [0.0, 0.0, 0.0, 1.0, 1.0]})
print(asked.join(pack.predict(asked, details=True)).round(3).to_string(index=False))

# %% The bits are the library's own.
own = models["store=1,brand=a"].predict(sales[features])
assert (pack.predict(sales[features], model="store=1,brand=a") == own).all()

# %% Why: SHAP contributions of one model, asked of its own file.
models["store=1,brand=a"].booster_.save_model(folder / "one.txt")
one = myriad.open(folder / "one.txt")
print(one.predict(asked[:2], output="contribution").round(3).to_string(index=False))

# %% A better model for one segment is a new release that shares all others, promoted in one move, and rolled back in one.
rows = sales.query("store == 1 and brand == 'a'")
registry.register(lightgbm.LGBMRegressor(n_estimators=80, num_leaves=8, verbose=-1).fit(rows[features], rows.units), "units",
                  {"store": 1, "brand": "a"}, metrics={"rmse": 0.9})
second = registry.release("units")
print(f"release {second.number}: {second.new_models} new of {second.models} models")
registry.promote("units", 1)
assert registry.open("units").release == 1
