//! Turns the remarks on a dataset's files into findings.

use super::finding::Finding;
use crate::data::Dataset;
use crate::data::Split;
use crate::data::dataset::{Remark, Topic};

/// The findings for the dataset's remarks and for missing splits.
pub fn findings(dataset: &Dataset) -> Vec<Finding> {
    let mut findings: Vec<Finding> = dataset.remarks().iter().map(finding).collect();
    if !dataset.has_captions() {
        return findings;
    }
    if !dataset.has_split(Split::Train) {
        let what = "the dataset has no training split";
        let advice =
            "name pictures for it in the split lists, the column split, or the folder train.";
        findings.push(Finding::new("no_train_split", Vec::new(), what, advice).stopping(true));
    }
    if !dataset.has_split(Split::Dev) {
        let what = "the dataset has no dev split, so that no scores are computed and the last weights are kept";
        let advice = "set some pictures apart for it, or have four pictures or more where a rule makes the splits.";
        findings.push(Finding::new("no_dev_split", Vec::new(), what, advice));
    }
    findings
}

fn finding(remark: &Remark) -> Finding {
    let (name, stops, advice) = match remark.topic {
        Topic::Rule => (
            "split_by_rule",
            false,
            "add a column split or split lists where you want other splits.",
        ),
        Topic::Encoding => (
            "encoding",
            false,
            "save the file as UTF-8: spreadsheets call that CSV UTF-8, editors offer it where they save.",
        ),
        Topic::Quotation => (
            "unclosed_quotation",
            false,
            "close the quotation mark or take it out; within a quoted caption write it twice.",
        ),
        Topic::BrokenLine => ("broken_lines", true, "repair these lines or take them out."),
        Topic::TwoSplits => (
            "picture_in_two_splits",
            true,
            "take it out of one of them: a model would be tested on what it learned by heart.",
        ),
        Topic::SeveralFolders => (
            "pictures_in_several_folders",
            true,
            "write the folder into the table's names, or move away the folder that is not meant.",
        ),
        Topic::SharedFile => (
            "names_of_one_file",
            true,
            "have the folders of these names here too, or write names that are files here.",
        ),
        Topic::MissingPicture => (
            "missing_pictures",
            false,
            "put them into the folder of the others, or take their rows out; they are left out of a training.",
        ),
        Topic::NoCaption => (
            "pictures_without_caption",
            false,
            "write captions for them; they are left out of a training.",
        ),
        Topic::NoSplit => (
            "captions_in_no_split",
            false,
            "name these pictures in a split if they are to be used.",
        ),
        Topic::NotListed => (
            "pictures_not_listed",
            false,
            "write captions for them if they are to be used.",
        ),
        Topic::LostCaption => (
            "captions_of_no_picture",
            false,
            "list these pictures, or take the captions out.",
        ),
        Topic::OtherName => (
            "pictures_called_otherwise",
            false,
            "nothing, if these are the pictures that are meant.",
        ),
        Topic::Columns => (
            "columns_chosen",
            false,
            "nothing, if these are the columns that are meant; --columns names others.",
        ),
        Topic::Choice => ("files_not_read", false, "move away what is not to be read."),
        Topic::Skipped => (
            "skipped_pictures",
            false,
            "nothing, if they may be left out.",
        ),
    };
    Finding {
        count: remark.count,
        ..Finding::new(name, remark.examples.clone(), &remark.text, advice).stopping(stops)
    }
}
