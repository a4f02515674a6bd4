r"""The closed vocabulary of units, and how one is split from a number: `5\text{ cm}^2`, `5 km/h`.

Sources: units of measure are those of the SI brochure (9th edition) and of NIST Handbook 44,
appendix C, with their usual abbreviations, and ISO 4217's common currencies. Counted things are the
plural nouns that follow a computed number at least four times in the solutions of GSM8K
(`<<16-3=13>>13 eggs`; Cobbe et al. 2021), and a few irregular ones. Left out are the words that
change a number (dozen, million, pairs, half, squared, more, less, times): a number with one of
those is another number, or none.
"""

import re
from typing import NamedTuple

# One unit a line, all its spellings; a plural in -s need not be listed. The first one names it.
_MEASURES = """
meter metre m
centimeter centimetre cm
millimeter millimetre mm
micrometer micrometre micron
nanometer nanometre nm
kilometer kilometre km kms
inch inches in
foot feet ft
yard yd
mile mi
gram gramme g
kilogram kg kgs kilo
milligram mg
ton tonne
ounce oz
pound lb lbs
second sec s
millisecond ms
minute min mins
hour hr hrs h
day
week wk
month
year yr
decade
century centuries
liter litre L l
milliliter millilitre ml mL
gallon gal
quart qt
pint pt
cup
tablespoon tbsp
teaspoon tsp
bushel
acre
hectare ha
degree deg
radian rad
kelvin
celsius
fahrenheit
newton N
joule J
kilojoule kJ
calorie cal
watt W
kilowatt kW
volt V
ampere amp A
ohm
hertz Hz
pascal Pa
mole mol
coulomb
bit
byte
dollar USD buck
cent
euro EUR
yen JPY
rupee INR Rs
peso
penny pennies
nickel
dime
point
unit
percent percentage pct
"""
_COUNTED = """
acorns adults albums alligators animals antacids ants apartments apples apps articles artworks
athletes attendees babies bags bales balloons balls bananas bandages bands barrels bars basketballs
baskets batches beads beakers bears beats beds bees berries bikes bills birds biscuits blocks
blueberries bones bonnets books bottles bouquets boxes boys bracelets bricks brothers brownies
buckets bugs buildings bulbs bundles bunnies buttons cabinets cakes calls candies candles candy
canes cans caps cards carriages carrots cars cartons cases caterpillars cats chairs chapters
characters cheese cherries chickens children chips chocolates circles classes clips clothes cloves
coconuts coins colors computers containers cookies corns countries cows crabs crackers crates
crayons crickets crows cubes cupcakes customers daisies decorations diaries digits dinners dishes
dogs dolls donuts doughnuts drawings dresses ducklings ducks earrings ears edges eggs elephants
emails employees envelopes episodes erasers eyes faces feathers females figurines firecrackers
fireworks fish fishes flashlights flavors fleas flies flights floors flowers flyers followers
friends fries frogs fruit fruits games geese gifts giraffes girls glasses gnomes goals goats
goldfish grapes groups guests gumballs guppies hats hens holes homes horses hotdogs houses
individuals insects items jars jellybeans jokes jumps kernels kids kittens knives lambs laps leaves
legos legs lemons lessons letters lines lions llamas loads loaves logs lollipops macarons magazines
magnets mangoes marbles markers marks marshmallows matches matchsticks meals medals members men
messages mice mistakes movies muffins mushrooms nails necklaces nephews newspapers nights notebooks
novels nuts objects omelets onions oranges orders packages packets packs pages pails paintings
pamphlets pancakes pants papayas paper papers parents parsnips participants parts passengers
pastries patients paws peaches pebbles pencils penguins pens people peppers petals pets phones
photos pictures pieces pies pigeons pigs pills pins pizza pizzas planks plants plates players
portions posters potatoes pots presents problems puffs pumpkins pupils puppies pups questions
rabbits racers rats rings rocks rolls rooms roses rounds rows rungs sacks sandwiches scoops seagulls
seashells seats sections seeds segments sentences sequins servings sessions sets sheep sheets shells
shirts shoes shots sides singers situps skips slices smores snacks snails snakes socks sodas
solutions songs spoons spots squares squats stairs stamps stars statues steps stickers sticks
stitches stories strawberries straws strings stripes students subjects suckers surfers swans
sweaters sweets tables tadpoles tattoos teachers teeth tennis tents texts tickets tiles tins tires
tissues tokens tomatoes toothbrushes towels toys trains trays treats trees trips trolls trucks tubes
tubs tulips turns turtles twigs vegetables vehicles vertices visitors visits votes walls walnuts
watermelons ways weasels weeds whales wheels whiskers widgets windows wins wolves women words worms
zombies
"""
_SCALED = re.compile(r"square|sq|cubic|cu")
# What stands between a number and its noun in an answer, as in "5 red marbles".
_ADJECTIVES = frozenset(["red", "blue", "green", "white", "black", "yellow", "total"])


def _vocabulary() -> dict[str, str]:
    names: dict[str, str] = {}
    for line in _MEASURES.strip().splitlines():
        spellings = line.split()
        names.update(dict.fromkeys(spellings, spellings[0]))
    plurals = {f"{word}s": name for word, name in names.items() if len(word) > 2}
    for noun in _COUNTED.split():
        for suffix, singular in (("ies", "y"), ("es", ""), ("s", "")):
            if noun.endswith(suffix):
                names.setdefault(noun.removesuffix(suffix) + singular, noun)
        names.setdefault(noun, noun)
    return plurals | names


UNITS = _vocabulary() | {
    "mph": "mile/hour",
    "kmh": "kilometer/hour",
    "kph": "kilometer/hour",
    "kmph": "kilometer/hour",
}


class Quantity(NamedTuple):
    """A number's text and its unit in one spelling, "" if it has none."""

    number: str
    unit: str


_ATOM = r"(?:\\text\{[A-Za-z ]+\}|[A-Za-z]+)"
_POWER = r"(?:\s*\^\s*(?:\{\s*-?[1-4]\s*\}|-?[1-4]))?"
_PRODUCT = re.compile(
    rf"{_ATOM}{_POWER}(?:\s*(?:/|\\cdot|\s)\s*{_ATOM}{_POWER})*",
)
_TAIL = re.compile(rf"(?P<number>.*?[\d}})!.])(?P<gap>\s*)(?P<unit>{_PRODUCT.pattern})", re.DOTALL)
_COMMANDS = re.compile(r"\\(?:text|cdot)(?![A-Za-z])")
_TOKEN = re.compile(r"[A-Za-z]+|/|\^\s*\{?\s*-?[1-4]")
_PARENTHESES = re.compile(r"\(\s*(\\text\{[A-Za-z ]+\}|[A-Za-z ]+)\s*\)$")


def split_unit(text: str, *, plain_letters: bool) -> Quantity:
    r"""Split a quantity; the unit is "" unless every word of it is in the vocabulary.

    Args:
        text: a normalized answer.
        plain_letters: whether a unit of one letter may be set in italics and without `\text`,
            where it could also be a variable: `5 m`.
    """
    tail = _PARENTHESES.sub(r"\1", text)
    if tail.endswith(r"^\circ"):
        return Quantity(tail.removesuffix(r"^\circ").strip(), "degree")
    degrees = re.fullmatch(r"(.*)\^\\circ\s*(?:\\text\{)?([CF])\}?", tail, re.DOTALL)
    if degrees:
        return Quantity(degrees[1].strip(), "celsius" if degrees[2] == "C" else "fahrenheit")
    match = _TAIL.fullmatch(tail)
    if match is None:
        return Quantity(text, "")
    upright = "\\text" in match["unit"] or "/" in match["unit"]
    unit = _unit(match["unit"])
    letter = re.fullmatch(rf"[A-Za-z]{_POWER}", match["unit"])
    plain = not upright and (not match["gap"] or (letter and not plain_letters))
    if unit is None or (plain and (letter or not match["number"].strip("-+")[-1:].isdigit())):
        return Quantity(text, "")
    return Quantity(match["number"].strip(), unit)


def _unit(text: str) -> str | None:
    r"""Return one spelling, `meter/second^2` for `\text{m/s}^2`; None if it is not a unit."""
    factors: list[str] = []
    sign = scale = ""
    for token in _TOKEN.findall(_COMMANDS.sub(" ", text)):
        if token in ("/", "per", "a", "an", "each"):
            sign = "/"
        elif token.startswith("^"):
            if not factors:
                return None
            factors[-1] += "^" + token.strip("^{ \t\n")
        elif _SCALED.fullmatch(token.lower()):
            scale = "^3" if token.lower().startswith("cu") else "^2"
        elif token.lower() in ("of", "the") or (token in _ADJECTIVES and not factors):
            continue
        else:
            name = UNITS.get(token) or UNITS.get(token.lower() if len(token) > 2 else token)
            if name is None:
                return None
            factors.append(sign + name + scale)
            sign = scale = ""
    return "".join(factors) if factors and not scale else None
