"""Typical wrong answers to the exercises of "Prototypical Networks", and the hint each must get."""

import math

import torch
import torch.nn.functional as F
from torch import nn


def layer(*, weight=2.0, bias=-1.0, power=1.0, turned=False):
    def wrong(c):
        made = nn.Linear(*(c.shape if turned else c.shape[::-1]), dtype=c.dtype)
        if not turned:
            with torch.no_grad():
                made.weight.copy_(weight * c)
                made.bias.copy_(bias * c.square().sum(1) ** power)
        return made

    return wrong


def means(kind):
    def wrong(z, labels, ways):
        member = F.one_hot(labels, ways).to(z.dtype)
        sums = member.T @ z
        if kind == "sums":
            return sums
        if kind == "same count":
            return sums * ways / len(z)
        if kind == "sorted":
            k = len(z) // ways
            return z[: k * ways].view(ways, k, -1).mean(1)
        return sums / member.sum(0).flip(0)[:, None]

    return wrong


def reject(*, root=False, flip=False, never=False, most=False, real=False):
    def wrong(z, c, limit):
        every = (z[:, None] - c).square().sum(2)
        d, label = every.max(1) if most else every.min(1)
        d = d.sqrt() if root else d
        far = torch.zeros_like(d, dtype=torch.bool) if never else (d > limit) ^ flip
        label = torch.where(far, -1, label)
        return label.double() if real else label

    return wrong


def divergence(*, tangent=True, at="c", sign=1):
    def wrong(convex, z, c):
        base = (z if at == "z" else c.expand_as(z)).clone().requires_grad_()
        value = convex(base)
        (slope,) = torch.autograd.grad(value.sum(), base)
        other = c.expand_as(z) if at == "z" else z
        step = (slope * (other - base)).sum(-1) if tangent else 0
        return sign * (convex(other) - value - step).detach()

    return wrong


def tangent_only(convex, z, c):
    c = c.clone().requires_grad_()
    (slope,) = torch.autograd.grad(convex(c), c)
    return ((z - c) @ slope).detach()


def left_out(*, power=2, own=True, sign=-1, everywhere=False, average=False):
    def wrong(z, labels, ways):
        member = F.one_hot(labels, ways).to(z.dtype)
        count = member.sum(0)
        d2 = (z[:, None] - member.T @ z / count[:, None]).square().sum(2)
        k = torch.full_like(z[:, :1], len(z) / ways) if average else count[labels][:, None]
        factor = (k / (k - 1)) ** power if own else torch.ones_like(k)
        where = torch.ones_like(member) if everywhere else member
        return sign * d2 * torch.where(where.bool(), factor, 1.0)

    return wrong


def ratio(ways, p):
    return (ways - 1) * p / (1 - p)


WRONG = {
    "last_layer": [
        (layer(weight=1), "the bias is right"),
        (layer(bias=0), "without a bias"),
        (layer(bias=1), "bias has the wrong sign"),
        (layer(weight=-2, bias=0.3), "weights have the wrong sign"),
        (layer(power=0.5), "squared\\* length"),
        (layer(turned=True), "should map"),
        (layer(weight=1, bias=-0.5), "every score is half"),
        (layer(weight=3, bias=0.3), "not those of the squared distances"),
        (lambda c: (2 * c, -c.square().sum(1)), "not an nn.Linear"),
    ],
    "class_means": [
        (means("sums"), "these are sums"),
        (means("same count"), "a count of its own"),
        (means("sorted"), "sorted labels only"),
        (means("flipped count"), "right for equal shots"),
        (lambda z, labels, ways: torch.zeros(ways, 3), "was expected"),
    ],
    "temperature": [
        (lambda ways, p: math.log(ratio(ways, p)), "holds 2 tau"),
        (lambda ways, p: 0.5 * math.log(ways * p / (1 - p)), "N - 1 \\*other\\*"),
        (lambda ways, p: 0.5 * math.log(p / (1 - p) / (ways - 1)), "wrong side"),
        (lambda ways, p: 2 / math.log(ratio(ways, p)), "inverse"),
        (lambda ways, p: 0.5 * math.log(p / (1 - p)), "does not depend on the number of ways"),
        (lambda ways, p: 1.0, "has the ceiling 0.6488"),
    ],
    "classify_or_reject": [
        (reject(never=True), "nothing is rejected"),
        (reject(root=True), "for the \\*squared\\* distance"),
        (reject(flip=True), "rejected"),
        (reject(most=True, never=True), "farthest away"),
        (reject(real=True), "whole numbers"),
    ],
    "bregman": [
        (divergence(tangent=False), "the tangent is missing"),
        (divergence(at="z"), "the arguments are exchanged"),
        (divergence(sign=-1), "the sign is wrong"),
        (tangent_only, "height of the tangent"),
        (lambda convex, z, c: (z - c).square().sum(1), "right for the sum of squares"),
        (lambda convex, z, c: torch.zeros(8), "was expected"),
    ],
    "leave_one_out": [
        (left_out(own=False), "still sits in its own prototype"),
        (left_out(power=1), "its square goes with"),
        (left_out(sign=1), "minus sign"),
        (left_out(everywhere=True), "\\*other\\* classes"),
        (left_out(power=3), "right against other classes"),
        (left_out(average=True), "numbers of shots differ"),
        (lambda z, labels, ways: torch.zeros(len(z), ways), "was expected"),
    ],
}
