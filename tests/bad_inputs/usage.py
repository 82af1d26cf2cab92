"""Mistakes in a command line as such, in its data, and in its classes."""

from __future__ import annotations

from tests.bad_inputs.places import (
    FLATS,
    GREY,
    INF,
    REAL,
    RUN,
    TRAIN,
    Case,
    array,
    guides,
    text,
    torn_npz,
)

USAGE = [
    # usage
    Case("no command", "", "command"),
    Case("unknown command", "trian", "trian"),
    Case("unknown option", f"{TRAIN} --epoch_s 3", "epoch_s"),
    # data
    Case("unknown data name", f"{TRAIN} --data mnits", "did you mean 'mnist'"),
    Case(
        "missing data path", f"{TRAIN} --data missing.npz", "there is no file or folder missing.npz"
    ),
    Case(
        "torn .npz",
        f"{TRAIN} --data torn.npz",
        "torn.npz cannot be read as numpy arrays: it is torn",
        torn_npz,
    ),
    Case("a .npy of zero bytes", f"{TRAIN} --data empty.npy", "empty.npy", text("empty.npy", "")),
    Case(
        "an array without rows",
        f"{TRAIN} --data empty.npy",
        "at least one row",
        array("empty.npy", GREY[:0]),
    ),
    Case("an array with inf", f"{TRAIN} --data inf.npy", "holds inf", array("inf.npy", INF)),
    Case(
        "an array of words",
        f"{TRAIN} --data words.npy",
        "dtype",
        array("words.npy", [["a", "b"]] * 20),
    ),
    Case("a folder without images", f"{TRAIN} --data ./run", "holds no images"),
    Case(
        "grey pixels under Bernoulli",
        f"{TRAIN} --binarise none --model.likelihood Bernoulli",
        "grey values",
    ),
    Case(
        "real values as probabilities",
        f"{TRAIN} --data r.npy --binarise static",
        "rescale",
        array("r.npy", REAL),
    ),
    Case("unknown binarisation", f"{TRAIN} --binarise sometimes", "binarise"),
    Case(
        "more validation data than there are",
        f"{TRAIN} --valid 99999",
        "valid=99999: expected 0 <= valid < 1497",
    ),
    Case(
        "convolutions on flat data",
        f"{TRAIN} --data flat.npy --guide.encoder Conv",
        "convolutions need images",
        FLATS,
    ),
    # model, guide, optimizer by class
    Case("unknown model class", f"{TRAIN} --model NoSuchModel", "NoSuchModel"),
    Case(
        "latent_dim 0",
        f"{TRAIN} --model.latent_dim 0",
        "model: latent_dim: got 0, expected a positive integer",
    ),
    Case(
        "a hidden layer of 0 units",
        f"{TRAIN} --model.hidden [0]",
        "hidden: got [0], expected positive integers",
    ),
    Case(
        "sigma -1",
        f"{TRAIN} --binarise none --model.likelihood Gaussian --model.likelihood.sigma -1",
        "sigma: got -1",
    ),
    Case("a guide that cannot be imported", f"{RUN} --guide nowhere.MyGuide", "nowhere"),
    Case(
        "a guide that its module does not have",
        f"{RUN} --guide my_guides.MyGuide",
        "MyGuide",
        guides,
    ),
    Case(
        "a guide's file with a syntax error",
        f"{RUN} --guide slip.G",
        "slip",
        text("slip.py", "class G(:"),
    ),
    Case("a guide that is built in another way", f"{RUN} --guide Local", "guide: "),
    Case("a function as guide class", f"{RUN} --guide my_guides.function", "function", guides),
    Case(
        "a guide without (shape, latent_dim)",
        f"{RUN} --guide my_guides.NoArguments",
        "Guide(shape, latent_dim, ...)",
        guides,
    ),
    Case("a guide whose __init__ fails", f"{RUN} --guide my_guides.SlipInInit", "guide: ", guides),
    Case("a guide whose forward fails", f"{RUN} --guide my_guides.Slip", "encoder", guides),
    Case(
        "a guide with another site name",
        f"{RUN} --guide my_guides.OtherSite",
        "expected the model's ['latent']",
        guides,
    ),
    Case(
        "a guide of another latent size",
        f"{RUN} --guide my_guides.OtherSize",
        "expected (..., 3)",
        guides,
    ),
    Case(
        "a guide without pyro.module",
        f"{RUN} --guide my_guides.Unregistered",
        "call pyro.module(name, net)",
        guides,
    ),
    Case(
        "a guide outside the data plate",
        f"{RUN} --guide my_guides.NoPlate",
        "not inside a plate of size",
        guides,
    ),
    Case(
        "a guide with a negative scale", f"{RUN} --guide my_guides.NegativeScale", "scale", guides
    ),
    Case("unknown optimizer", f"{TRAIN} --optimizer torch.optim.Adamm", "Adamm"),
    Case("learning rate -1", f"{TRAIN} --optimizer.lr -1", "learning rate: -1"),
    Case("an optimizer that needs a closure", f"{TRAIN} --optimizer LBFGS", "LBFGS"),
    Case("a schedule without its argument", f"{TRAIN} --schedule CosineAnnealingLR", "T_max"),
]
