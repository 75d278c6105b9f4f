//! Command-line options that name a dataset.

use std::path::PathBuf;

use clap::Args;

use super::output;
use crate::data::dataset::Columns;
use crate::data::{Dataset, Given, Split};
use crate::error::Result;

/// The dataset's folder, and options for reading it.
#[derive(Args)]
pub struct DataArgs {
    /// The dataset's folder; its layout is recognised: Flickr8k, Flickr30k, Kaggle's captions.txt, Karpathy's JSON,
    /// COCO, a table of one's own beside pictures, Hugging Face's metadata.csv or .jsonl, or a text file beside each
    /// picture
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// The columns of the table, by their titles or numbers, if the titles are not understood:
    /// image=file,caption=text; several captions and split=set may be added
    #[arg(long, value_name = "COLUMNS")]
    columns: Option<Columns>,
    /// The table with the captions, if there are several or it has another name
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// Karpathy's JSON file, if there are several; a name alone is looked for in DIR
    #[arg(long, value_name = "FILE", conflicts_with_all = ["table", "columns"])]
    karpathy: Option<PathBuf>,
    /// Leave out pictures that cannot be read or have no caption, and missing pictures that a list of a split names,
    /// and say how many; without it, one line refuses them all. Reads every picture first
    #[arg(long)]
    skip_bad: bool,
}

impl DataArgs {
    /// The dataset's description from these options.
    pub fn given(&self) -> Given {
        Given {
            root: self.data.clone(),
            columns: self.columns.clone(),
            table: self.table.clone(),
            karpathy: self.karpathy.clone(),
            skip_bad: self.skip_bad,
            examine: false,
        }
    }

    /// Reads the dataset, to use the images of one split.
    ///
    /// # Errors
    /// If it is no dataset, or is broken.
    pub fn open(&self, split: Split) -> Result<Dataset> {
        Dataset::read_for(&self.given(), &[split])
    }
}

/// Prints the remarks on a dataset.
pub fn tell(dataset: &Dataset) {
    for remark in dataset.remarks() {
        output::note(&remark.text);
    }
}

/// The layouts that are understood, for long help texts.
pub const LAYOUTS: &str = "\
What DIR may hold:

  A table of one's own, .csv or .tsv, and a folder of pictures with any name:

    captions.csv      image,caption
    photos/1.jpg      1.jpg,A dog runs on the beach
    photos/2.jpg      1.jpg,\"A brown dog, running\"
                      2.jpg,Zwei Mädchen essen Äpfel

    A row is a picture and a caption; a picture may have several rows, or several columns of one
    title: caption_1, caption_2; or a list in one field, [\"A dog\", \"It runs\"]. Commas,
    semicolons, tabs or | separate the columns. Titles such as file, file_name, picture, text,
    description, comment, Bild, Beschreibung are understood; others are named by their titles or
    numbers: --columns \"image=Foto,caption=Was man sieht\". If several columns hold text, the
    one with the most fitting title is read, with a message.
    A picture's name may be a path: photos/1.jpg never means a file 1.jpg in another folder. Of a
    path from another computer, C:\\Bilder\\cats\\1.jpg, the longest end that exists here is used
    (cats/1.jpg). A name that exists in two folders is refused.
    A column split (train, dev or val, test) is followed, and so are tables called train.csv,
    val.csv and test.csv, and folders train/, val/ and test/; pictures outside these folders are
    left out. Text that is not UTF-8 is read as Windows-1252, with a message.
    With --table a JSON file is read too: an object a line, or a list of objects.

  Hugging Face's image folder, also one in each of train/, validation/ and test/:

    metadata.jsonl    {\"file_name\": \"1.jpg\", \"text\": \"A dog runs on the beach\"}
    1.jpg             (or metadata.csv with the columns file_name,text)

  A text file beside each picture, each line of it a caption:

    1.jpg
    1.txt             A dog runs on the beach
                      (or 1.jpg.txt, which comes first where both are there)

  The published datasets as they are unpacked:

    Flickr8k.token.txt, Flickr_8k.trainImages.txt, ...    and Flicker8k_Dataset/
    captions.txt (Kaggle)                                 and Images/
    results.csv or results_20130124.token (Flickr30k)     and flickr30k_images/
    dataset_*.json (Karpathy), also in caption_datasets/  and the pictures; --karpathy chooses
    annotations/captions_train2017.json (COCO)            and train2017/, val2017/ or images/

If nothing assigns pictures to splits, a hash of their names does, so the same picture always gets
the same split, with all of its captions. Of one's own pictures a tenth is dev (at least 5 of 20 or
more); of Kaggle's and Flickr30k's an eighth is dev and another eighth test.
Pictures and captions that are left out are counted, and so are files with captions that are not
read because others are. `glimpse doctor --data DIR` reports all problems at once.";
