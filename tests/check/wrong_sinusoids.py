"""Typical wrong answers to the exercises of "MAML on sinusoids", and the hint each must get."""

import torch
import torch.nn.functional as F


def network(*, relu="between", bias="right", first=False):
    def wrong(params, x):
        depth = len(params) // 2
        for i in range(depth):
            weight, b = params[f"layers.{i}.weight"], params[f"layers.{i}.bias"]
            if first:
                weight, b = weight[:1], b[:1]
            x = x @ weight.mT
            if bias == "right":
                x = x + b.unsqueeze(-2)
            elif bias == "broadcast":
                x = x + b
            if relu == "all" or (relu == "between" and i < depth - 1):
                x = torch.relu(x)
        return x

    return wrong


def tanh(params, x):
    depth = len(params) // 2
    for i in range(depth):
        x = x @ params[f"layers.{i}.weight"].mT + params[f"layers.{i}.bias"].unsqueeze(-2)
        x = torch.tanh(x) if i < depth - 1 else x
    return x


def curve(*, on="query", descend="support", reduction="mean", restart=False, extra=0, write=False):
    def wrong(forward, theta, x, y, new_x, new_y, alpha, steps):
        sets = {"support": (x, y), "query": (new_x, new_y)}
        params = {n: p.detach().clone().requires_grad_() for n, p in theta.items()}
        start, errors = params, []
        for _ in range(steps + 1 + extra):
            seen, known = sets[on]
            errors.append(F.mse_loss(forward(params, seen), known).item())
            origin = start if restart else params
            loss = F.mse_loss(
                forward(origin, sets[descend][0]), sets[descend][1], reduction=reduction
            )
            grads = torch.autograd.grad(loss, tuple(origin.values()))
            params = {
                n: (p - alpha * g).detach().requires_grad_()
                for (n, p), g in zip(origin.items(), grads, strict=True)
            }
            if write:
                theta.update(params)
        return errors

    return wrong


def no_step(forward, theta, x, y, new_x, new_y, alpha, steps):
    return [F.mse_loss(forward(theta, new_x), new_y).item()] * (steps + 1)


def piled(forward, theta, x, y, new_x, new_y, alpha, steps):
    params = {n: p.clone().requires_grad_() for n, p in theta.items()}
    errors = []
    for _ in range(steps + 1):
        errors.append(F.mse_loss(forward(params, new_x), new_y).item())
        F.mse_loss(forward(params, x), y).backward()
        with torch.no_grad():
            for p in params.values():
                p -= alpha * p.grad
    return errors


def half_steps(forward, theta, x, y, new_x, new_y, alpha, steps):
    return curve()(forward, theta, x, y, new_x, new_y, alpha / 2, steps)


def adapt(*, over="tasks", second=True, cut=False, sign=-1, rate=1.0):
    def wrong(forward, params, x, y, alpha):
        square = (forward(params, x) - y).square()
        loss = {"tasks": square.mean((1, 2)).sum(), "all": square.mean(), "none": square.sum()}[
            over
        ]
        grads = torch.autograd.grad(loss, tuple(params.values()), create_graph=second)
        return {
            n: (p.detach() if cut else p) + sign * rate * alpha * g
            for (n, p), g in zip(params.items(), grads, strict=True)
        }

    return wrong


def rated(*, over="tasks", second=True, on="query", sign=-1, step=True, frozen=False):
    def wrong(forward, theta, rates, episode):
        params = {n: p.expand(len(episode), *p.shape) for n, p in theta.items()}
        square = (forward(params, episode.support_x) - episode.support_y).square()
        loss = square.mean() if over == "all" else square.mean((1, 2)).sum()
        grads = torch.autograd.grad(loss, tuple(params.values()), create_graph=second)
        if step:
            params = {
                n: p + sign * (rates[n].detach() if frozen else rates[n]) * g
                for (n, p), g in zip(params.items(), grads, strict=True)
            }
        x, y = (
            (episode.query_x, episode.query_y)
            if on == "query"
            else (episode.support_x, episode.support_y)
        )
        return F.mse_loss(forward(params, x), y)

    return wrong


def one_step_for_all(forward, theta, rates, episode):
    def spread(params):
        return {n: p.expand(len(episode), *p.shape) for n, p in params.items()}

    error = forward(spread(theta), episode.support_x) - episode.support_y
    loss = error.square().mean((1, 2)).sum()
    grads = torch.autograd.grad(loss, tuple(theta.values()), create_graph=True)
    adapted = {n: p - rates[n] * g for (n, p), g in zip(theta.items(), grads, strict=True)}
    return F.mse_loss(forward(spread(adapted), episode.query_x), episode.query_y)


MEAN = 2 / torch.pi


WRONG = {
    "mlp": [
        (network(relu="all"), "after the last layer"),
        (network(relu="none"), "no ReLU between"),
        (network(bias="none"), "biases are missing"),
        (tanh, "the output differs"),
    ],
    "mlp_tasks": [
        (network(bias="broadcast"), "added to \\*input\\* t"),
        (network(first=True), "weights of the first"),
        (network(relu="all"), "after the last layer"),
        (network(relu="none"), "no ReLU between"),
        (network(bias="none"), "biases are missing"),
        (tanh, "a loop over the tasks"),
    ],
    "joint_floor": [
        (lambda low, high: (high**3 - low**3) / (high - low) / 3, "mean of sin\\^2"),
        (lambda low, high: ((low + high) / 2) ** 2 / 2, "not the mean of its square"),
        (lambda low, high: (high - low) ** 2 / 12, "variance of A"),
        (lambda low, high: 0.0, "is not 0"),
        (lambda low, high: 1.0, "was expected"),
        (
            lambda low, high: (
                (high**3 - low**3) / (high - low) / 6 - (MEAN * (low + high) / 2) ** 2 / 2
            ),
            "mean curve is flat",
        ),
    ],
    "error_curve": [
        (curve(on="support"), "errors on the support set"),
        (curve(descend="query"), "must not see"),
        (curve(reduction="sum"), "take the mean"),
        (curve(restart=True), "starts where the last one ended"),
        (curve(extra=1), "steps \\+ 1 were expected"),
        (curve(write=True), "theta has changed"),
        (no_step, "never changes"),
        (piled, "until it is set to zero"),
        (half_steps, "after one step differs"),
        (lambda *a: 3.0, "a list of numbers"),
    ],
    "adapt_tasks": [
        (adapt(over="all", second=False, cut=True), "mean over the three tasks.*more"),
        (adapt(over="all"), "mean over the three tasks\\)\\.$"),
        (adapt(over="none"), "sum over points"),
        (adapt(second=False), "first-order"),
        (adapt(cut=True, second=False), "does not depend on params"),
        (adapt(cut=True), "differs from the true one"),
        (adapt(sign=1), "uphill"),
        (adapt(rate=0.5), "differ from those of a loop"),
        (lambda forward, params, x, y, alpha: [1], "return a dictionary"),
    ],
    "rated_loss": [
        (rated(over="all"), "mean over the three tasks"),
        (rated(second=False), "first-order one"),
        (rated(on="support"), "reads the queries"),
        (rated(step=False), "before the step"),
        (rated(sign=1), "uphill"),
        (rated(frozen=True), "gradient by the rates is not"),
        (one_step_for_all, "takes the same step"),
        (lambda forward, theta, rates, episode: torch.tensor(3.0), "was expected"),
    ],
}
