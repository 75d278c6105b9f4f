//! Python's pickles, read without executing anything.
//!
//! A pickle is a program for a small stack machine. Two of its instructions are dangerous: `GLOBAL` fetches any
//! function that Python can import, and `REDUCE` calls it. This machine has all the instructions that weight files use
//! (protocols 0 to 5), but it imports nothing and calls nothing. `GLOBAL` looks a name up in the caller's list; a name
//! that is not listed stays a mere name. `REDUCE` only records which function was to be called with which arguments,
//! and the caller interprets the record. A checkpoint may therefore contain a vocabulary, a loss or a whole model
//! beside its weights: they stay records. A file that refers to a harmful name, such as `os.system`, is refused.
//!
//! Values live in one list and refer to each other by index. Nesting in a hostile file therefore never causes recursion
//! here, and a value that is referred to twice exists once. Each instruction creates at most one value, the number of
//! instructions is limited, and lengths are checked against the remaining input. Memory is thus bounded by the size of
//! the file.

mod machine;

use std::fmt;

use self::machine::Machine;

/// Size in bytes of the largest pickle that is read. The largest DenseNet's weights and an optimizer's state need under
/// one MiB, because the numbers themselves lie outside the pickle; the numbers of NumPy arrays lie within.
pub(in crate::data::import) const LARGEST: usize = 256 << 20;

/// The largest number of instructions that are executed. A vocabulary of a hundred thousand words needs a fifth of
/// them.
const MOST_STEPS: usize = 4 << 20;

/// The index of a value.
pub(super) type Id = usize;

/// A value in a pickle. `G` is a name on the caller's list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value<G> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as its little-endian bytes.
    Long(Vec<u8>),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    /// Pairs of key and value, in their order.
    Dict(Vec<(Id, Id)>),
    Global(G),
    /// A name that is not on the list, with its module: `__main__.Vocabulary`.
    Foreign(String),
    /// A call that was recorded: the function and the tuple of its arguments.
    Call(G, Id),
    /// An object of a class that is not on the list.
    Object(Box<Object>),
    /// A reference to something outside the pickle.
    Persistent(Id),
}

/// An object of a class that is not on the list. It was recorded, not created.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object {
    /// Pairs of key and value that were to be set, as in a dictionary.
    pub(super) items: Vec<(Id, Id)>,
    /// The value that its attributes were to be set from.
    pub(super) state: Option<Id>,
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<G> {
    values: Vec<Value<G>>,
    root: Id,
    /// The number of bytes that the pickle takes.
    pub(super) length: usize,
}

impl<G: Copy> Pickle<G> {
    /// Returns the index of the value that the pickle holds.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// Returns the indices of all values.
    pub(super) fn ids(&self) -> std::ops::Range<Id> {
        0..self.values.len()
    }

    /// Returns the value with this index.
    pub(super) fn get(&self, id: Id) -> &Value<G> {
        &self.values[id]
    }

    /// Returns the items of a tuple or list.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Returns the value as text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Returns the value as a non-negative integer.
    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }
}

/// Reads the pickle at the start of `input`. `find` takes a module and a name and returns the list's entry for them, if
/// there is one; `is_dict` tells which entries create a dictionary when called.
///
/// # Errors
/// If an instruction is not among those that weight files use, if a name is harmful, or if the input is malformed. The
/// error is the message's text.
pub(super) fn read<G: Copy + PartialEq>(
    input: &[u8],
    find: impl Fn(&str, &str) -> Option<G>,
    is_dict: impl Fn(G) -> bool,
) -> Result<Pickle<G>, String> {
    let mut machine = Machine::new(input, find, is_dict);
    let root = machine.run()?;
    Ok(Pickle {
        values: machine.values,
        root,
        length: machine.at,
    })
}

/// Whether a name starts programs, runs code or opens files. No object beside weights needs such a name.
fn is_harmful(module: &str, name: &str) -> bool {
    let first = module.split('.').next().unwrap_or_default();
    match first {
        "os" | "posix" | "nt" | "subprocess" | "sys" | "pty" | "runpy" | "shutil" | "socket"
        | "importlib" | "commands" | "ctypes" | "webbrowser" | "code" | "codeop" | "pdb"
        | "timeit" => true,
        "builtins" | "__builtin__" => matches!(
            name,
            "eval"
                | "exec"
                | "execfile"
                | "compile"
                | "open"
                | "__import__"
                | "apply"
                | "input"
                | "breakpoint"
                | "globals"
                | "vars"
        ),
        _ => false,
    }
}

/// A name from a foreign file, shortened if it is long and without characters that control a terminal.
pub(super) struct Printable<'a>(pub(super) &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LONGEST: usize = 200;
        let mut rest = self.0.chars();
        rest.by_ref()
            .take(LONGEST)
            .try_for_each(|c| match c.is_control() {
                true => write!(f, "{}", c.escape_default()),
                false => write!(f, "{c}"),
            })?;
        match rest.next() {
            Some(_) => f.write_str("…"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &[u8]) -> Result<Pickle<char>, String> {
        let find = |module: &str, name: &str| (module == "m").then(|| name.chars().next())?;
        read(program, find, |global| global == 'D')
    }

    fn value(program: &[u8]) -> Value<char> {
        let pickle = run(program).unwrap();
        pickle.get(pickle.root()).clone()
    }

    #[test]
    fn scalars_of_every_protocol() {
        for (program, expected) in [
            (&b"I-7\n."[..], Value::Int(-7)),
            (b"I01\n.", Value::Bool(true)),
            (b"L12L\n.", Value::Int(12)),
            (b"J\xff\xff\xff\xff.", Value::Int(-1)),
            (b"M\x01\x02.", Value::Int(513)),
            (b"\x8a\x00.", Value::Int(0)),
            (b"\x8a\x02\xff\x00.", Value::Int(255)),
            (b"\x8a\x02\x00\xff.", Value::Int(-256)),
            (
                b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x00\x01.",
                Value::Long(b"\0\0\0\0\0\0\0\0\x01".to_vec()),
            ),
            (b"F1.5\n.", Value::Float(1.5)),
            (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", Value::Float(1.5)),
            (b"S'ab'\n.", Value::Text("ab".into())),
            (b"Vab\n.", Value::Text("ab".into())),
            (b"U\x02ab.", Value::Text("ab".into())),
            (b"X\x02\x00\x00\x00ab.", Value::Text("ab".into())),
            (b"\x8c\x02ab.", Value::Text("ab".into())),
            (b"C\x02ab.", Value::Bytes(b"ab".to_vec())),
            (b"U\x01\xff.", Value::Bytes(vec![0xff])),
            (b"N.", Value::None),
            (b"\x88.", Value::Bool(true)),
        ] {
            assert_eq!(value(program), expected, "{program:?}");
        }
    }

    #[test]
    fn containers_hold_their_items_by_number() {
        let sizes = |program: &[u8]| -> Vec<usize> {
            let pickle = run(program).unwrap();
            let items = pickle.items(pickle.root()).unwrap().to_vec();
            items.iter().map(|&i| pickle.size(i).unwrap()).collect()
        };
        for program in [
            &b"(K\x01K\x02t."[..],
            b"K\x01K\x02\x86.",
            b"](K\x01K\x02e.",
            b"]K\x01aK\x02a.",
            b"(K\x01K\x02l.",
            b"K\x01K\x020K\x02\x86.",
            b"K\x01K\x02(K\x03K\x041\x86.",
        ] {
            assert_eq!(sizes(program), [1, 2], "{program:?}");
        }
        // A value from the memo is the same value, not a copy.
        let pickle = run(b"]q\x00h\x00\x86.").unwrap();
        let items = pickle.items(pickle.root()).unwrap();
        assert_eq!(items[0], items[1]);
        for program in [
            &b"(K\x01K\x02d."[..],
            b"}K\x01K\x02s.",
            b"}(K\x01K\x02u.",
            b"cm\nD\n)R(K\x01K\x02u.",
            b"cm\nD\n(](K\x01K\x02\x86etR.",
            b"cm\nD\n)R(K\x01K\x02u}(K\x05K\x06ub.",
        ] {
            let pickle = run(program).unwrap();
            let Value::Dict(pairs) = pickle.get(pickle.root()) else {
                panic!("{program:?}")
            };
            let [(key, value)] = pairs[..] else {
                panic!("{program:?}")
            };
            assert_eq!(
                (pickle.size(key), pickle.size(value)),
                (Some(1), Some(2)),
                "{program:?}"
            );
        }
    }

    #[test]
    fn calls_are_noted_and_not_made() {
        let pickle = run(b"cm\nrun\nK\x01\x85R.and more").unwrap();
        assert_eq!(pickle.length, 12);
        let &Value::Call('r', arguments) = pickle.get(pickle.root()) else {
            panic!()
        };
        assert_eq!(pickle.items(arguments).unwrap().len(), 1);
        for (program, name) in [
            (&b"cos\nsystem\n."[..], "`os.system`"),
            (b"c__builtin__\neval\n.", "`__builtin__.eval`"),
            (b"cimportlib.util\nx\n.", "`importlib.util.x`"),
        ] {
            let message = run(program).unwrap_err();
            assert!(message.contains(name), "{message}");
        }
    }

    #[test]
    fn what_is_not_on_the_list_becomes_a_note() {
        assert_eq!(value(b"cn\nrun\n."), Value::Foreign("n.run".into()));
        for program in [
            &b"cn\nV\n)\x81(K\x01K\x02u}K\x03K\x04sb."[..],
            b"cn\nV\n)}\x92(K\x01K\x02u}K\x03K\x04sb.",
            b"cn\nV\n)RK\x01K\x02s}K\x03K\x04sb.",
            b"cm\nrun\n0cn\nf\n)R)RK\x01K\x02s}K\x03K\x04sb.",
        ] {
            let pickle = run(program).unwrap();
            let Value::Object(object) = pickle.get(pickle.root()) else {
                panic!("{program:?}")
            };
            let [(key, value)] = object.items[..] else {
                panic!("{program:?}")
            };
            assert_eq!((pickle.size(key), pickle.size(value)), (Some(1), Some(2)));
            let state = pickle.get(object.state.unwrap());
            assert!(matches!(state, Value::Dict(pairs) if pairs.len() == 1));
        }
        // Sets, and mutable bytes.
        for program in [&b"\x8f(K\x01\x90."[..], b"(K\x01\x91."] {
            let pickle = run(program).unwrap();
            assert_eq!(pickle.items(pickle.root()).map(<[_]>::len), Some(1));
        }
        let bytes = value(b"\x96\x02\0\0\0\0\0\0\0ab.");
        assert_eq!(bytes, Value::Bytes(b"ab".to_vec()));
    }

    #[test]
    fn instructions_are_counted() {
        let message = run(&b"N0".repeat(MOST_STEPS)).unwrap_err();
        assert!(
            message.contains("more than 4194304 instructions"),
            "{message}"
        );
    }

    #[test]
    fn what_lies_under_a_mark_is_out_of_reach() {
        for program in [
            &b"K\x01(\x85."[..],
            b"](K\x01a.",
            b"K\x01(q\x00.",
            b"K\x01(.",
        ] {
            assert!(run(program).is_err(), "{program:?}");
        }
        // A mark on top can be popped like any value.
        assert_eq!(value(b"K\x01(0."), Value::Int(1));
    }
}
