"""Relight a performer by an environment map, in five lines of numpy-friendly code.

python examples/relight_field.py [TAKE] [ENVIRONMENT] [OUTPUT.png]
"""

import sys
from pathlib import Path

from lightstage import ReflectanceFields
from lightstage.images import write_image
from lightstage.relighting import exposure_for, light_weights, load_environment, relight

SAMPLE = Path(__file__).parents[1] / "sample_sessions/talking/takes/talk"


def main(take: str, environment: str, output: str) -> None:
    fields = ReflectanceFields.open(take)
    weights = light_weights(load_environment(environment), fields.directions)
    image = relight(fields[0].olat, weights)
    write_image(output, image * exposure_for(image))
    strongest = weights.sum(axis=1).argmax()
    print(f"{output}: {len(fields)} sets of {fields.lights} lights; light {strongest} counts most")


if __name__ == "__main__":
    given = sys.argv[1:]
    main(*(given + [str(SAMPLE), "sunset", "relit.png"][len(given) :]))
