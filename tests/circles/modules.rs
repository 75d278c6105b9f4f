//! The module tree of a crate, and the file in which each path is defined.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::source::{self, Content, Source};

/// One module of a crate.
pub struct Module {
    pub file: PathBuf,
    pub parent: Option<usize>,
    children: HashMap<String, usize>,
    source: Source,
}

/// All modules of a crate; the first one is the root.
pub struct Modules(pub Vec<Module>);

/// One use of a file in another.
#[derive(Clone, Debug)]
pub struct Use {
    /// The module whose text contains the path.
    pub from: usize,
    /// The module that defines the item.
    pub to: usize,
    pub line: usize,
    pub path: String,
}

/// The meaning of a path: a module, or an item that is defined in a module.
#[derive(Clone, Copy)]
enum Target {
    Module(usize),
    ItemOf(usize),
}

impl Target {
    fn module(self) -> usize {
        match self {
            Target::Module(module) | Target::ItemOf(module) => module,
        }
    }
}

impl Modules {
    /// Loads the crate with this root. `text` returns the text of a file, or `None` where there is no such file.
    pub fn load(root: &Path, text: &dyn Fn(&Path) -> Option<String>) -> Self {
        let mut modules = Modules(Vec::new());
        let folder = root.parent().unwrap();
        let source = source::read(&text(root).expect("the root of the crate exists"));
        modules.add(None, root, folder, source, text);
        modules
    }

    /// Adds a module and its children, whose files are in `folder`, and returns its index.
    fn add(
        &mut self,
        parent: Option<usize>,
        file: &Path,
        folder: &Path,
        mut source: Source,
        text: &dyn Fn(&Path) -> Option<String>,
    ) -> usize {
        let index = self.0.len();
        let declared = std::mem::take(&mut source.children);
        self.0.push(Module {
            file: file.to_path_buf(),
            parent,
            children: HashMap::new(),
            source,
        });
        for child in declared {
            let own_folder = folder.join(&child.name);
            let added = match child.content {
                Content::Inline(source) => self.add(Some(index), file, &own_folder, source, text),
                Content::File(path) => {
                    let (child_file, found) = match path {
                        Some(path) => vec![normal(&file.parent().unwrap().join(path))],
                        None => vec![
                            folder.join(format!("{}.rs", child.name)),
                            own_folder.join("mod.rs"),
                        ],
                    }
                    .into_iter()
                    .find_map(|file| text(&file).map(|text| (file, text)))
                    .unwrap_or_else(|| {
                        panic!("{}: mod {} has no file", file.display(), child.name)
                    });
                    let is_mod = child_file.ends_with("mod.rs");
                    let folder = if is_mod {
                        child_file.parent().unwrap()
                    } else {
                        &own_folder
                    };
                    self.add(Some(index), &child_file, folder, source::read(&found), text)
                }
            };
            self.0[index].children.insert(child.name, added);
        }
        index
    }

    /// Returns the modules that contain `module`, nearest first, beginning with itself.
    pub fn upward(&self, module: usize) -> impl Iterator<Item = usize> + '_ {
        std::iter::successors(Some(module), |&module| self.0[module].parent)
    }

    /// Returns every use of an item that another file defines.
    pub fn uses(&self) -> Vec<Use> {
        let mut found = Vec::new();
        for (from, module) in self.0.iter().enumerate() {
            let source = &module.source;
            let imports = source.imports.iter().map(|import| {
                let re_export = import.public && !source.words.contains(&import.name);
                (&import.path, import.line, re_export)
            });
            let mentions = source.mentions.iter().map(|m| (&m.path, m.line, false));
            for (path, line, re_export) in imports.chain(mentions) {
                let Some(to) = self.resolve(from, path, 0).map(Target::module) else {
                    continue;
                };
                // To pass on the name of an item further down does not count as a use of it.
                let passed_on = re_export && self.upward(to).any(|above| above == from);
                if !passed_on && self.0[to].file != module.file {
                    let path = path.join("::");
                    found.push(Use {
                        from,
                        to,
                        line,
                        path,
                    });
                }
            }
        }
        found
    }

    /// Returns what `path` means in the module `from`, or `None` for names of other crates and local names.
    fn resolve(&self, from: usize, path: &[String], depth: usize) -> Option<Target> {
        let mut at = match path.first()?.as_str() {
            "crate" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.0[from].parent?),
            name => self.named(from, name, depth)?,
        };
        for name in &path[1..] {
            let Target::Module(module) = at else {
                break;
            };
            at = match name.as_str() {
                "super" => Target::Module(self.0[module].parent?),
                name => self
                    .named(module, name, depth)
                    .unwrap_or(Target::ItemOf(module)),
            };
        }
        Some(at)
    }

    /// Returns what `name` means in a module: a child, an imported name, an item of its own, or one from `use x::*`.
    fn named(&self, module: usize, name: &str, depth: usize) -> Option<Target> {
        let Module {
            children, source, ..
        } = &self.0[module];
        // Modules may import each other's names in a ring.
        if depth > 8 {
            return None;
        }
        if let Some(&child) = children.get(name) {
            return Some(Target::Module(child));
        }
        let import = source.imports.iter().find(|import| import.name == name);
        // `use rand;` names another crate, not itself.
        if let Some(import) = import.filter(|import| import.path != [name]) {
            return self.resolve(module, &import.path, depth + 1);
        }
        if source.defined.contains(name) {
            return Some(Target::ItemOf(module));
        }
        let globs = source.imports.iter().filter(|import| import.name == "*");
        globs
            .filter_map(|import| self.resolve(module, &import.path, depth + 1))
            .find_map(|target| match target {
                Target::Module(other) if other != module => self.named(other, name, depth + 1),
                _ => None,
            })
    }
}

/// The path without `..`.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(normal.pop()),
            part => normal.push(part),
        }
    }
    normal
}
