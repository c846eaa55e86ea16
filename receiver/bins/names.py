"""The names of bins: which are valid, and new ones that a person can say: `brave-otter-41`."""

import re
import secrets

NAME_TAKES = "A name is up to 60 small letters, digits and dashes, and begins with a letter or a digit."

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,59}", re.ASCII)
_HOW = """
    able airy amber apt azure bold brave breezy bright brisk calm candid clear clever cosy crisp curious daring deft
    eager early easy fair fleet fond frank fresh gentle glad golden grand happy hardy honest jolly keen kind lively
    loyal lucid lucky mellow merry mild modest neat nimble noble patient placid plucky polite prompt proud quick
    quiet ready rosy serene sharp steady sunny swift tidy witty
"""
_WHO = """
    badger beaver bison bittern bunting camel civet condor coot cormorant crane curlew deer dipper dolphin dove
    dunlin eagle egret falcon ferret finch fox gannet gecko gibbon goose grebe hare hedgehog heron hoopoe ibis
    jackdaw jay kestrel kite koala lapwing lark linnet lynx magpie marmot marten mole moose newt ocelot osprey otter
    owl panda plover puffin quail raven robin seal shrike stoat stork swallow swift tapir tern thrush toad vole
    walrus wombat wren
"""


def is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name))


def suggest() -> str:
    """Return a random name that most likely is not in use."""
    how, who = (secrets.choice(words.split()) for words in (_HOW, _WHO))
    return f"{how}-{who}-{secrets.randbelow(90) + 10}"
