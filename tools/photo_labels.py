"""Lists the kinds of animals that photos show, by the photos' names, in the format of `glimpse calibrate --labels`.

    python tools/photo_labels.py FOLDER > labels.tsv

The output has a line for each photo whose name is informative, with three fields separated by tabs: the name; the kinds,
separated by commas, `-` for a photo without animals, or `?` if the name does not tell; and the name of the ImageNet class,
if there is one. The names are those of the collections that the bundled model's encoder was trained on: cats
and dogs (`cd_cat.1.jpg`), Stanford 40 actions (`st40_riding_a_horse_001.jpg`) and ImageNet (`imgn_n02129165_1_lion.jpg`,
`nette_n02102040__...`).
"""

import os
import re
import sys

# Words in the names of ImageNet classes, and the kind that each belongs to. Other words are ignored.
KINDS = {
    "dog": "dog terrier retriever spaniel hound setter shepherd sheepdog poodle collie corgi husky malamute boxer mastiff "
    "pinscher schnauzer chihuahua pug dalmatian rottweiler basenji whippet beagle pekinese dinmont airedale papillon "
    "samoyed pomeranian chow keeshond briard kelpie komondor malinois affenpinscher weimaraner vizsla saluki borzoi "
    "bloodhound coonhound",
    "cat": "domestic_cat tabby persian_cat siamese_cat egyptian_cat tiger_cat",
    "horse": "horse sorrel",
    "cow": "cattle bull cow ox",
    "sheep": "sheep ram bighorn",
    "bear": "bear",
    "bird": "bird finch goldfinch brambling junco bunting robin bulbul jay magpie chickadee eagle vulture owl grouse ptarmigan "
    "quail partridge macaw cockatoo lorikeet coucal hornbill hummingbird jacamar toucan drake merganser goose swan stork "
    "spoonbill flamingo heron bittern crane limpkin gallinule coot bustard sandpiper redshank dowitcher oystercatcher "
    "pelican penguin albatross ostrich hen cock",
    "monkey": "monkey gorilla chimpanzee orangutan gibbon siamang guenon patas baboon macaque langur colobus marmoset capuchin titi",
    "elephant": "elephant tusker",
    "tiger": "tiger",
    "lion": "lion",
    "fox": "fox",
    "rabbit": "rabbit hare angora",
    "snake": "snake viper cobra mamba boa python",
    "fish": "fish goldfish tench shark",
    "frog": "frog bullfrog",
    "turtle": "turtle terrapin loggerhead",
    "zebra": "zebra",
}
OF_WORD = {word: kind for kind, words in KINDS.items() for word in words.split()}
# Ten classes whose files are named by number alone.
NETTE = {
    "n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
    "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
    "n03445777": "golf ball", "n03888257": "parachute",
}
NETTE_KINDS = {"tench": "fish", "English springer": "dog"}


def label(name):
    """Returns the kinds and the class that a name gives; None if it gives no kinds."""
    if match := re.match(r"cd_(cat|dog)\.", name):
        return match[1], ""
    if match := re.match(r"st40_(.*?)_\d", name):
        action = match[1]
        if "horse" in action:
            return "horse", ""
        return ("dog" if "dog" in action else "-"), ""
    if match := re.match(r"nette_(n\d+)_", name):
        of_class = NETTE[match[1]]
        return NETTE_KINDS.get(of_class, "-"), of_class
    if match := re.match(r"(?:imgn|insm)_n\d+_(?:\d+_)?(\D.*)\.\w+$", name):
        words = match[1].lower()
        of_class = match[1].replace("_", " ")
        if words in OF_WORD:
            return OF_WORD[words], of_class
        found = [OF_WORD[word] for word in re.split(r"[_-]", words) if word in OF_WORD]
        return (found[-1], of_class) if found else (None, of_class)
    return None


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: python photo_labels.py FOLDER")
    for name in sorted(os.listdir(sys.argv[1])):
        found = label(name)
        if found:
            kinds, of_class = found
            print(name, "?" if kinds is None else kinds, of_class, sep="\t")


if __name__ == "__main__":
    main()
