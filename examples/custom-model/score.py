"""A model that is code: what `myriad model import examples/custom-model --fleet f --segment ""` brings in."""
import json

features = ["price", "deal"]  # the columns it is given, in their order


def init():
    """Once per process, before the first rows: load what is needed. The files of this directory are in the working directory."""
    global curve
    with open("curve.json") as file:
        curve = json.load(file)


def run(mini_batch):
    """One answer per row. mini_batch is a pandas DataFrame, or a dict of lists where there is no pandas."""
    price = mini_batch["price"].fillna(curve["usual_price"])
    return (curve["base"] - curve["slope"] * price + curve["deal"] * mini_batch["deal"]).clip(lower=0)
