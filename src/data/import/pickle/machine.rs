//! The stack machine that reads a pickle; the [parent module](super) explains what it must not do.

use std::collections::HashMap;

use super::{Id, LARGEST, MOST_STEPS, Printable, Value, is_harmful};

/// The state of the machine: the rest of its input, the values made so far, and the stack, marks and memo.
pub(super) struct Machine<'a, G, F, D> {
    input: &'a [u8],
    whole: bool,
    pub(super) at: usize,
    pub(super) values: Vec<Value<G>>,
    stack: Vec<Id>,
    /// The position on the stack of each mark.
    marks: Vec<usize>,
    memo: HashMap<u64, Id>,
    find: F,
    is_dict: D,
}

type Step<T> = Result<T, String>;

impl<'a, G, F, D> Machine<'a, G, F, D>
where
    G: Copy + PartialEq,
    F: Fn(&str, &str) -> Option<G>,
    D: Fn(G) -> bool,
{
    /// Creates a machine at the beginning of `input`; `find` returns the meaning of permitted names.
    pub(super) fn new(input: &'a [u8], find: F, is_dict: D) -> Self {
        Machine {
            input: &input[..input.len().min(LARGEST)],
            whole: input.len() <= LARGEST,
            at: 0,
            values: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            find,
            is_dict,
        }
    }

    /// Runs the pickle to its end and returns the value on top of the stack.
    pub(super) fn run(&mut self) -> Step<Id> {
        for _ in 0..MOST_STEPS {
            let opcode = self.byte()?;
            if opcode == b'.' {
                return self.pop();
            }
            self.step(opcode)?;
        }
        Err(format!(
            "has a pickle of more than {MOST_STEPS} instructions, which no weights need"
        ))
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
            b'T' | b'U' | b'X' | 0x8c | 0x8d | b'B' | b'C' | 0x8e | 0x96 => {
                let value = self.string(opcode)?;
                self.push(value)
            }
            b']'
            | b'l'
            | b'a'
            | b'e'
            | b')'
            | b't'
            | 0x85..=0x87
            | b'}'
            | b'd'
            | b's'
            | b'u'
            | 0x8f..=0x91 => self.container(opcode),
            b'p' | b'q' | b'r' | 0x94 | b'g' | b'h' | b'j' => self.memory(opcode),
            b'c' | 0x93 | b'R' | 0x81 | 0x92 | b'b' | b'Q' => self.object(opcode),
            other => Err(self.unknown(other)),
        }
    }

    /// Reads the operand of an instruction that pushes a number, or a text up to the end of its line.
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
            // Quoted as in a Python source, or with escapes; weight files contain either only in names.
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

    /// Reads the operand of an instruction that pushes text or bytes: their length, then the bytes.
    fn string(&mut self, opcode: u8) -> Step<Value<G>> {
        let length = match opcode {
            b'U' | 0x8c | b'C' => self.byte()?.into(),
            b'T' | b'X' | b'B' => u32::from_le_bytes(self.array()?).into(),
            _ => u64::from_le_bytes(self.array()?),
        };
        let length = usize::try_from(length).map_err(|_| self.broken())?;
        let bytes = self.take(length)?;
        Ok(match opcode {
            b'B' | b'C' | 0x8e | 0x96 => Value::Bytes(bytes.to_vec()),
            _ => match std::str::from_utf8(bytes) {
                Ok(text) => Value::Text(text.to_string()),
                // Python 2 wrote arbitrary bytes in this way.
                Err(_) if matches!(opcode, b'T' | b'U') => Value::Bytes(bytes.to_vec()),
                Err(_) => return Err(self.broken()),
            },
        })
    }

    /// Builds lists, tuples and dictionaries.
    fn container(&mut self, opcode: u8) -> Step<()> {
        match opcode {
            // A set is read as a list, since nobody looks anything up in either.
            b']' | 0x8f => self.push(Value::List(Vec::new())),
            b')' => self.push(Value::Tuple(Vec::new())),
            b'}' => self.push(Value::Dict(Vec::new())),
            b'l' | 0x91 => {
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
            b'e' | 0x90 => {
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

    /// Stores values in the memo and fetches them again.
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

    /// Handles names, calls and references to things outside the pickle.
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
            // REDUCE, NEWOBJ, and NEWOBJ_EX, which takes named arguments too
            b'R' | 0x81 | 0x92 => {
                if opcode == 0x92 {
                    self.pop()?;
                }
                let arguments = self.pop()?;
                let function = self.pop()?;
                self.call(function, arguments)
            }
            // BUILD sets an object's attributes. Those of tensors and dictionaries say nothing about the weights; a
            // model has its weights among its attributes.
            b'b' => {
                let state = self.pop()?;
                let top = self.top()?;
                match &mut self.values[top] {
                    Value::Object(object) => object.state = Some(state),
                    Value::Call(..) | Value::Dict(_) => {}
                    _ => return Err(self.broken()),
                }
                Ok(())
            }
            _ => {
                let id = self.pop()?;
                self.push(Value::Persistent(id))
            }
        }
    }

    /// Records a call without making it.
    fn call(&mut self, function: Id, arguments: Id) -> Step<()> {
        if let Value::Tuple(_) = self.values[arguments] {
            match self.values[function] {
                Value::Global(global) if (self.is_dict)(global) => {
                    return self.dictionary(arguments);
                }
                Value::Global(global) => return self.push(Value::Call(global, arguments)),
                // In PyTorch's old format the classes of models lie outside the pickle.
                Value::Foreign(_) | Value::Object(_) | Value::Persistent(_) => {
                    return self.push(Value::Object(Box::default()));
                }
                _ => {}
            }
        }
        Err(format!(
            "calls something that is not a name of a weight file, at byte {}",
            self.at
        ))
    }

    fn global(&mut self, module: &str, name: &str) -> Step<()> {
        let (module, name) = (Printable(module), Printable(name));
        if is_harmful(module.0, name.0) {
            return Err(format!(
                "wants Python to run `{module}.{name}`, which no weights need; nothing was executed, and no other \
                 program should open it"
            ));
        }
        self.push(match (self.find)(module.0, name.0) {
            Some(global) => Value::Global(global),
            None => Value::Foreign(format!("{module}.{name}")),
        })
    }

    /// Builds a dictionary from a call without arguments or with a list of pairs.
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
            // The object that would have been extended is opaque.
            Value::Call(..) | Value::Object(_) => {}
            _ => return Err(self.broken()),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Step<()> {
        let pairs = self.pairs(items)?;
        let top = self.top()?;
        match &mut self.values[top] {
            Value::Dict(dict) => dict.extend(pairs),
            Value::Object(object) => object.items.extend(pairs),
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

    /// Returns the lowest position of the stack that may be popped: values below the last mark are out of reach.
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

    /// Pops the last mark and everything above it.
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

    /// Reads the text up to the end of its line.
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
        format!("its pickle is malformed at byte {}", self.at)
    }

    fn unknown(&self, opcode: u8) -> String {
        format!(
            "its pickle has the instruction {opcode:#04x} at byte {}, which no weights need",
            self.at - 1
        )
    }
}

/// Decodes a two's complement integer, little-endian, of any length.
fn long<G>(bytes: &[u8]) -> Value<G> {
    if bytes.len() > 8 {
        return Value::Long(bytes.to_vec());
    }
    let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
    let mut all = [if negative { 0xff } else { 0 }; 8];
    all[..bytes.len()].copy_from_slice(bytes);
    Value::Int(i64::from_le_bytes(all))
}
