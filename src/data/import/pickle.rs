//! Python's pickles, read without executing anything.
//!
//! A pickle is a program for a small stack machine. Two of its instructions are what makes it dangerous: `GLOBAL`
//! fetches any function that Python can import, and `REDUCE` calls it. This machine has the instructions that weight
//! files are made of (protocols 0 to 5), but nothing to import and nothing to call. `GLOBAL` finds only the names on
//! the caller's list, and anything else ends the reading with that name; `REDUCE` notes down which of them was to be
//! called with what, and leaves it to whoever asked to make sense of the note.
//!
//! Values live in one list and refer to each other by number, so that no nesting of a hostile file is ever recursion
//! here, and what a pickle refers to twice exists once. Each instruction makes at most one value, and lengths are
//! checked against what is left of the input, so memory is bounded by the size of the file.

use std::collections::HashMap;
use std::fmt;

/// Bytes of the largest pickle that is read. What the largest DenseNet's weights and an optimizer's state need is
/// under one MiB, for the numbers themselves lie outside.
pub(super) const LARGEST: usize = 4 << 20;

/// The number of a value.
pub(super) type Id = usize;

/// What a pickle can hold. `G` is a name on the caller's list.
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
    /// Keys and values in their order.
    Dict(Vec<(Id, Id)>),
    Global(G),
    /// What would have been called, and the tuple that it would have been given.
    Call(G, Id),
    /// What stands for something outside the pickle.
    Persistent(Id),
}

/// A pickle that was read.
#[derive(Debug)]
pub(super) struct Pickle<G> {
    values: Vec<Value<G>>,
    root: Id,
    /// Bytes that it took.
    pub(super) length: usize,
}

impl<G: Copy> Pickle<G> {
    /// The number of what it holds.
    pub(super) fn root(&self) -> Id {
        self.root
    }

    /// The numbers of all values.
    pub(super) fn ids(&self) -> std::ops::Range<Id> {
        0..self.values.len()
    }

    /// The value with this number.
    pub(super) fn get(&self, id: Id) -> &Value<G> {
        &self.values[id]
    }

    /// The items of a tuple or list.
    pub(super) fn items(&self, id: Id) -> Option<&[Id]> {
        match self.get(id) {
            Value::Tuple(items) | Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match self.get(id) {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, where it is none below zero.
    pub(super) fn size(&self, id: Id) -> Option<usize> {
        match self.get(id) {
            Value::Int(n) => usize::try_from(*n).ok(),
            _ => None,
        }
    }
}

/// The pickle at the start of `input`. `find` is given a module and a name and returns what stands for them, if they
/// are on its list; `is_dict` says which of these are called to make a dictionary.
///
/// # Errors
/// In words, where an instruction or a name is not among those that weight files need, or the input makes no sense.
pub(super) fn read<G: Copy + PartialEq>(
    input: &[u8],
    find: impl Fn(&str, &str) -> Option<G>,
    is_dict: impl Fn(G) -> bool,
) -> Result<Pickle<G>, String> {
    let mut machine = Machine {
        input: &input[..input.len().min(LARGEST)],
        whole: input.len() <= LARGEST,
        at: 0,
        values: Vec::new(),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        find,
        is_dict,
    };
    let root = machine.run()?;
    Ok(Pickle {
        values: machine.values,
        root,
        length: machine.at,
    })
}

struct Machine<'a, G, F, D> {
    input: &'a [u8],
    whole: bool,
    at: usize,
    values: Vec<Value<G>>,
    stack: Vec<Id>,
    /// Where on the stack each mark is.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    find: F,
    is_dict: D,
}

type Step<T> = Result<T, String>;

impl<G, F, D> Machine<'_, G, F, D>
where
    G: Copy + PartialEq,
    F: Fn(&str, &str) -> Option<G>,
    D: Fn(G) -> bool,
{
    /// Runs to the end of the program and returns the value on top.
    fn run(&mut self) -> Step<Id> {
        loop {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
    }

    fn step(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            // PROTO and FRAME
            0x80 => match self.byte()? {
                0..=5 => Ok(()),
                version => Err(format!("is a pickle of protocol {version}, not 0 to 5")),
            },
            0x95 => self.skip(8),
            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            // POP, POP_MARK, DUP
            b'0' => match self.marks.last() {
                Some(&mark) if mark == self.stack.len() => self.since_mark().map(drop),
                _ => self.pop().map(drop),
            },
            b'1' => self.since_mark().map(drop),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }
            b'N' => self.push(Value::None),
            0x88 => self.push(Value::Bool(true)),
            0x89 => self.push(Value::Bool(false)),
            b'I' | b'L' | b'F' | b'S' | b'V' | b'J' | b'K' | b'M' | b'G' | 0x8a | 0x8b => {
                let value = self.scalar(opcode)?;
                self.push(value)
            }
            b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e => {
                let value = self.string(opcode)?;
                self.push(value)
            }
            b']' | b'l' | b'a' | b'e' | b')' | b't' | 0x85..=0x87 | b'}' | b'd' | b's' | b'u' => {
                self.container(opcode)
            }
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(opcode),
            b'c' | 0x93 | b'R' | 0x81 | b'b' | b'Q' => self.object(opcode),
            other => Err(self.unknown(other)),
        }
    }

    /// Numbers.
    fn scalar(&mut self, opcode: u8) -> Step<Value<G>> {
        Ok(match opcode {
            b'I' => match self.line()? {
                "00" => Value::Bool(false),
                "01" => Value::Bool(true),
                text => Value::Int(text.trim().parse().map_err(|_| self.broken())?),
            },
            b'L' => {
                let text = self.line()?.trim_end_matches('L');
                Value::Int(text.parse().map_err(|_| self.broken())?)
            }
            b'F' => Value::Float(self.line()?.trim().parse().map_err(|_| self.broken())?),
            // Quoted as in a Python source, or with escapes; neither stands in a file of weights but for names.
            b'S' => {
                let line = self.line()?;
                let quoted = |q: char| line.strip_prefix(q).and_then(|l| l.strip_suffix(q));
                let text = quoted('\'').or_else(|| quoted('"'));
                match text {
                    Some(text) if !text.contains('\\') => Value::Text(text.to_string()),
                    _ => return Err(self.broken()),
                }
            }
            b'V' => match self.line()? {
                text if text.contains('\\') => return Err(self.broken()),
                text => Value::Text(text.to_string()),
            },
            b'J' => Value::Int(i32::from_le_bytes(self.array()?).into()),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            b'G' => Value::Float(f64::from_be_bytes(self.array()?)),
            0x8a => {
                let length = self.byte()?.into();
                long(self.take(length)?)
            }
            _ => {
                let length = u32::from_le_bytes(self.array()?) as usize;
                long(self.take(length)?)
            }
        })
    }

    /// Text and bytes with their length before them.
    fn string(&mut self, opcode: u8) -> Step<Value<G>> {
        let length = match opcode {
            b'U' | 0x8c | b'C' => self.byte()?.into(),
            b'T' | b'X' | b'B' => u32::from_le_bytes(self.array()?).into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        let length = usize::try_from(length).map_err(|_| self.broken())?;
        let bytes = self.take(length)?;
        Ok(match opcode {
            b'B' | b'C' | 0x8e => Value::Bytes(bytes.to_vec()),
            _ => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_string()),
                // Python 2 wrote any bytes that way.
                Err(_) if matches!(opcode, b'T' | b'U') => Value::Bytes(bytes.to_vec()),
                Err(_) => return Err(self.broken()),
            },
        })
    }

    /// Lists, tuples, dictionaries.
    fn container(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b']' => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'l' => {
                let items = self.since_mark()?;
                self.push(Value::List(items))
            }
            b't' => {
                let items = self.since_mark()?;
                self.push(Value::Tuple(items))
            }
            0x85..=0x87 => {
                let count = usize::from(opcode - 0x84);
                let from = self.stack.len().checked_sub(count);
                let from = from.filter(|&from| from >= self.floor());
                let items = self.stack.split_off(from.ok_or_else(|| self.broken())?);
                self.push(Value::Tuple(items))
            }
            b'd' => {
                let items = self.since_mark()?;
                let pairs = self.pairs(&items)?;
                self.push(Value::Dict(pairs))
            }
            b'a' => {
                let item = self.pop()?;
                self.append(&[item])
            }
            b'e' => {
                let items = self.since_mark()?;
                self.append(&items)
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])
            }
            _ => {
                let items = self.since_mark()?;
                self.set(&items)
            }
        }
    }

    /// What was said before, and will be needed again.
    fn memory(&mut self, opcode: u8) -> Step<()> {
        let key = match opcode {
            b'p' | b'g' => self.line()?.trim().parse().map_err(|_| self.broken())?,
            b'q' | b'h' => self.byte()?.into(),
            b'r' | b'j' => u32::from_le_bytes(self.array()?).into(),
            _ => self.memo.len() as u64,
        };
        if matches!(opcode, b'g' | b'h' | b'j') {
            let id = *self.memo.get(&key).ok_or_else(|| self.broken())?;
            self.stack.push(id);
        } else {
            let top = self.top()?;
            self.memo.insert(key, top);
        }
        Ok(())
    }

    /// Names, calls, and what lies outside.
    fn object(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            b'c' => {
                let module = self.line()?.to_string();
                let name = self.line()?.to_string();
                self.global(&module, &name)
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (&self.values[module], &self.values[name]) {
                    (Value::Text(module), Value::Text(name)) => {
                        let (module, name) = (module.clone(), name.clone());
                        self.global(&module, &name)
                    }
                    _ => Err(self.broken()),
                }
            }
            // REDUCE and NEWOBJ
            b'R' | 0x81 => {
                let arguments = self.pop()?;
                let function = self.pop()?;
                let (&Value::Global(global), Value::Tuple(_)) =
                    (&self.values[function], &self.values[arguments])
                else {
                    return Err(format!(
                        "calls something that is no name of a weight file, at byte {}",
                        self.at
                    ));
                };
                if (self.is_dict)(global) {
                    return self.dictionary(arguments);
                }
                self.push(Value::Call(global, arguments))
            }
            // BUILD gives an object its attributes. Those of what weight files hold say nothing about the weights.
            b'b' => {
                self.pop()?;
                match &self.values[self.top()?] {
                    Value::Call(..) | Value::Dict(_) => Ok(()),
                    _ => Err(self.broken()),
                }
            }
            _ => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        match (self.find)(module, name) {
            Some(global) => self.push(Value::Global(global)),
            None => Err(format!(
                "wants Python to run `{}.{}`, which no weights need; nothing was executed (of a model of yours, save \
                 the `state_dict()` alone)",
                Printable(module),
                Printable(name)
            )),
        }
    }

    /// A dictionary made of a call with nothing or with a list of pairs.
    fn dictionary(&mut self, arguments: Id) -> Step<()> {
        let mut pairs = Vec::new();
        if let Value::Tuple(arguments) = &self.values[arguments]
            && let Some(&list) = arguments.first()
            && let Value::List(items) = &self.values[list]
        {
            for &item in items {
                match &self.values[item] {
                    Value::List(pair) | Value::Tuple(pair) if pair.len() == 2 => {
                        pairs.push((pair[0], pair[1]));
                    }
                    _ => return Err(self.broken()),
                }
            }
        }
        self.push(Value::Dict(pairs))
    }

    fn append(&mut self, items: &[Id]) -> Step<()> {
        let top = self.top()?;
        match &mut self.values[top] {
            Value::List(list) => list.extend(items),
            // Whatever it is that would have been extended: it is opaque.
            Value::Call(..) => {}
            _ => return Err(self.broken()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Step<()> {
        let pairs = self.pairs(items)?;
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Call(..) => {}
            _ => return Err(self.broken()),
        }
        Ok(())
    }

    fn pairs(&self, items: &[Id]) -> Step<Vec<(Id, Id)>> {
        match items.as_chunks::<2>() {
            (pairs, []) => Ok(pairs.iter().map(|&[key, value]| (key, value)).collect()),
            _ => Err(self.broken()),
        }
    }

    fn push(&mut self, value: Value<G>) -> Step<()> {
        self.stack.push(self.values.len());
        self.values.push(value);
        Ok(())
    }

    /// The lowest place of the stack that may be taken: what is under a mark is out of reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Step<Id> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn top(&self) -> Step<Id> {
        match self.stack.last() {
            Some(&top) if self.stack.len() > self.floor() => Ok(top),
            _ => Err(self.broken()),
        }
    }

    /// Everything above the last mark, which is taken away with it.
    fn since_mark(&mut self) -> Step<Vec<Id>> {
        let mark = self.marks.pop().ok_or_else(|| self.broken())?;
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    fn byte(&mut self) -> Step<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Step<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn skip(&mut self, count: usize) -> Step<()> {
        self.take(count).map(drop)
    }

    fn take(&mut self, count: usize) -> Step<&[u8]> {
        let end = self
            .at
            .checked_add(count)
            .filter(|&e| e <= self.input.len());
        let Some(end) = end else {
            return Err(self.ended());
        };
        let taken = &self.input[self.at..end];
        self.at = end;
        Ok(taken)
    }

    /// The text up to the end of its line.
    fn line(&mut self) -> Step<&str> {
        let rest = &self.input[self.at..];
        let Some(length) = rest.iter().position(|&b| b == b'\n') else {
            return Err(self.ended());
        };
        let start = self.at;
        self.at += length + 1;
        std::str::from_utf8(&self.input[start..start + length]).map_err(|_| self.broken())
    }

    fn ended(&self) -> String {
        if self.whole {
            format!("ends in the middle of its pickle, at byte {}", self.at)
        } else {
            format!(
                "has a pickle of more than {} MiB, which no weights need",
                LARGEST >> 20
            )
        }
    }

    fn broken(&self) -> String {
        format!("its pickle makes no sense at byte {}", self.at)
    }

    fn unknown(&self, opcode: u8) -> String {
        format!(
            "its pickle has the instruction {opcode:#04x} at byte {}, which no weights need",
            self.at - 1
        )
    }
}

/// Two's complement, little-endian, of any length.
fn long<G>(bytes: &[u8]) -> Value<G> {
    if bytes.len() > 8 {
        return Value::Long(bytes.to_vec());
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(all))
}

/// A name out of a foreign file, without anything that a terminal would obey; the beginning of it, where it is long.
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
        // What is remembered is the same thing, not another like it.
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
        let message = run(b"cn\nrun\n.").unwrap_err();
        assert!(message.contains("`n.run`"), "{message}");
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
        // A mark on top can be taken away like anything else.
        assert_eq!(value(b"K\x01(0."), Value::Int(1));
    }
}
