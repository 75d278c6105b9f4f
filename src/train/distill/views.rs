//! The views of all target files, each once.
//!
//! If two teachers saw the same view of a picture, their rows are joined, and one forward pass of the student serves
//! both. A view that only one of them saw has the targets of one teacher. Files with the same list of views, which
//! `tools/teacher_targets.py` writes for the same seed, therefore cost no more than one file. Views of files with
//! different lists are mixed in random order.

use std::collections::HashMap;

use super::file::TargetFile;
use crate::data::View;
use crate::error::Result;

/// Marks a view that this teacher did not see.
const NONE: u32 = u32::MAX;

/// The views of all target files.
pub struct Views {
    /// For each view and each file, the row in that file.
    rows: Vec<u32>,
    files: usize,
}

/// Key of a view: the picture and the bits of the six numbers.
type Key = (u32, [u32; 6]);

fn key(file: &TargetFile, numbers: &[u32], row: usize) -> Result<Key> {
    let view = file.view(row)?.numbers().map(f32::to_bits);
    Ok((numbers[file.picture(row)], view))
}

impl Views {
    /// Joins the rows of `files`. `numbers` gives for each file the index of each of its pictures.
    ///
    /// # Errors
    /// Fails if a file can no longer be read.
    pub fn join(files: &[TargetFile], numbers: &[Vec<u32>]) -> Result<Self> {
        let mut views = Views {
            rows: Vec::new(),
            files: files.len(),
        };
        for at in 0..files.len() {
            views.add(files, numbers, at)?;
        }
        Ok(views)
    }

    fn add(&mut self, files: &[TargetFile], numbers: &[Vec<u32>], at: usize) -> Result<()> {
        let (file, before) = (&files[at], self.len());
        // Built only if the lists of views differ.
        let mut index: Option<HashMap<Key, u32>> = None;
        for row in 0..file.len() {
            let wanted = key(file, &numbers[at], row)?;
            let fits = |views: &Self, view: usize| -> Result<bool> {
                Ok(views.row(view, at).is_none() && views.key(files, numbers, view)? == wanted)
            };
            let mut place = None;
            if before == 0 {
                // In the first file each row is a new view.
            } else if row < before && fits(self, row)? {
                place = Some(row);
            } else {
                let index = match &mut index {
                    Some(index) => index,
                    None => index.insert(self.index(files, numbers, before)?),
                };
                if let Some(&view) = index.get(&wanted)
                    && fits(self, view as usize)?
                {
                    place = Some(view as usize);
                }
            }
            let place = place.unwrap_or_else(|| {
                self.rows.extend(std::iter::repeat_n(NONE, self.files));
                self.len() - 1
            });
            self.rows[place * self.files + at] = row as u32;
        }
        Ok(())
    }

    fn index(
        &self,
        files: &[TargetFile],
        numbers: &[Vec<u32>],
        count: usize,
    ) -> Result<HashMap<Key, u32>> {
        (0..count)
            .map(|view| Ok((self.key(files, numbers, view)?, view as u32)))
            .collect()
    }

    fn key(&self, files: &[TargetFile], numbers: &[Vec<u32>], view: usize) -> Result<Key> {
        let (file, row) = self.first(view);
        key(&files[file], &numbers[file], row)
    }

    /// Returns the number of views.
    pub(super) fn len(&self) -> usize {
        self.rows.len().checked_div(self.files).unwrap_or(0)
    }

    /// Returns the row of a view in a file, if the file has it.
    pub fn row(&self, view: usize, file: usize) -> Option<usize> {
        let row = self.rows[view * self.files + file];
        (row != NONE).then_some(row as usize)
    }

    /// Returns the first file with the view, and its row there.
    fn first(&self, view: usize) -> (usize, usize) {
        let known = (0..self.files).find_map(|file| Some((file, self.row(view, file)?)));
        known.unwrap_or((0, 0))
    }

    /// Returns the index of a view's picture.
    pub fn picture(&self, files: &[TargetFile], numbers: &[Vec<u32>], view: usize) -> usize {
        let (file, row) = self.first(view);
        numbers[file][files[file].picture(row)] as usize
    }

    /// Returns the geometry and brightness of a view.
    ///
    /// # Errors
    /// Fails if the file can no longer be read.
    pub fn view(&self, files: &[TargetFile], view: usize) -> Result<View> {
        let (file, row) = self.first(view);
        files[file].view(row)
    }
}
