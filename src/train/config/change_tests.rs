//! Tests that every setting is documented, and that the documentation agrees with the code.

use super::*;

/// Returns the field names that `table` accepts, taken from the error message about an unknown one.
fn taken(table: &str) -> Vec<String> {
    let mut value = TrainConfig::default().value();
    put(
        &mut value,
        "encoder.new",
        serde_json::json!({ "growth": 8, "blocks": [1], "stem": 8 }),
    );
    put(&mut value, "distill.targets", serde_json::json!(["a"]));
    let dot = if table.is_empty() { "" } else { "." };
    put(
        &mut value,
        &format!("{table}{dot}no such thing"),
        Value::Null,
    );
    let error = serde_json::from_value::<TrainConfig>(value)
        .unwrap_err()
        .to_string();
    let (_, known) = error.split_once("expected ").unwrap();
    known
        .split('`')
        .skip(1)
        .step_by(2)
        .map(String::from)
        .collect()
}

#[test]
fn every_setting_is_documented_and_no_other() {
    for (table, _) in TABLES {
        let dot = if table.is_empty() { "" } else { "." };
        let mut documented: Vec<String> = Vec::new();
        for known in FIELDS.iter().map(|f| f.key).chain(TABLES.map(|(t, _)| t)) {
            let own = known.strip_prefix(&format!("{table}{dot}"));
            if let Some(own) = own.filter(|own| !own.is_empty() && !own.contains('.')) {
                documented.push(own.to_string());
            }
        }
        let mut taken = taken(table);
        taken.sort();
        documented.sort();
        assert_eq!(documented, taken, "[{table}]");
    }
}

#[test]
fn what_is_documented_is_what_the_code_takes() {
    for field in FIELDS {
        let mut value = TrainConfig::default().value();
        put(
            &mut value,
            "encoder.new",
            serde_json::json!({ "growth": 8, "blocks": [1], "stem": 8 }),
        );
        put(&mut value, "distill.targets", serde_json::json!(["a"]));
        let read = |given: Value| {
            let mut value = value.clone();
            put(&mut value, field.key, given);
            serde_json::from_value::<TrainConfig>(value)
        };
        if let Takes::Choice(known) = field.takes {
            let error = read("no such word".into()).unwrap_err().to_string();
            let (_, expected) = error.split_once("expected ").unwrap();
            let expected: Vec<&str> = expected.split('`').skip(1).step_by(2).collect();
            assert_eq!(expected, known, "{}", field.key);
            continue;
        }
        let samples = [
            serde_json::json!(1),
            serde_json::json!(0.5),
            serde_json::json!(true),
            serde_json::json!([0.5, 1.0]),
            serde_json::json!([1, 2, 3]),
            serde_json::json!(["a"]),
            serde_json::json!([{ "file": "a" }]),
        ];
        for sample in samples {
            let fits = field.takes.fits(&sample);
            assert_eq!(
                read(sample.clone()).is_ok(),
                fits,
                "{} = {sample}",
                field.key
            );
        }
    }
}

#[test]
fn the_documentation_is_a_configuration_with_the_defaults() {
    let text = commented(&TrainConfig::default());
    assert_eq!(
        toml::from_str::<TrainConfig>(&text).unwrap(),
        TrainConfig::default()
    );
    for field in FIELDS {
        let short = field.key.rsplit('.').next().unwrap();
        assert!(text.contains(&format!("{short} = ")), "{}", field.key);
        assert!(field.about.ends_with('.') && field.takes.words().len() > 3);
        let is_number = matches!(
            field.takes,
            Takes::Whole | Takes::Number | Takes::Pair | Takes::Wholes
        );
        assert_eq!(
            is_number && field.key != "seed",
            !field.unit.is_empty(),
            "{}",
            field.key
        );
    }
    assert!(text.lines().all(|line| line.chars().count() <= 100));
    // A setting that is left out by default is shown by its example.
    let mut out = String::new();
    for line in text.lines() {
        let bare = line.strip_prefix("# ").filter(|rest| {
            TABLES
                .iter()
                .any(|(table, _)| **rest == format!("[{table}]"))
                || FIELDS.iter().any(|f| {
                    !f.example.is_empty()
                        && **rest
                            == format!("{} = {}", f.key.rsplit('.').next().unwrap(), f.example)
                })
        });
        out += bare.unwrap_or(line);
        out.push('\n');
    }
    let config: TrainConfig = toml::from_str(&out).unwrap();
    assert!(
        config.encoder.new.is_some() && config.distill.is_some() && config.encoder.lr.is_some()
    );
    // The documentation of a changed configuration parses back to it.
    let changed = TrainConfig::default()
        .with(&[Change::parse("decoder.dropout=0.25").unwrap()])
        .unwrap();
    assert_eq!(
        toml::from_str::<TrainConfig>(&commented(&changed)).unwrap(),
        changed
    );
}

#[test]
fn a_setting_is_given_by_name() {
    let set = |texts: &[&str]| {
        let changes: Vec<Change> = texts.iter().map(|t| Change::parse(t).unwrap()).collect();
        TrainConfig::default().with(&changes)
    };
    let config = set(&[
        "decoder.kind=attention",
        "optimizer.lr = 5e-4",
        "epochs=3",
        "optimizer.betas=[0.8, 0.99]",
        "decoder.tied=true",
        "dev.score='loss'",
        "augment.flip=0",
    ])
    .unwrap();
    assert_eq!(config.decoder.kind, crate::model::DecoderKind::Attention);
    assert_eq!((config.optimizer.lr, config.epochs), (5e-4, 3));
    assert_eq!(config.optimizer.betas, [0.8, 0.99]);
    assert!(config.decoder.tied);
    let lines = changed(&config.value());
    assert_eq!(
        lines,
        [
            "epochs = 3",
            "decoder.kind = \"attention\"",
            "decoder.tied = true",
            "augment.flip = 0.0",
            "optimizer.lr = 0.0005",
            "optimizer.betas = [0.8, 0.99]",
            "dev.score = \"loss\"",
        ]
    );
    let new = [
        "encoder.new.growth=8",
        "encoder.new.blocks=[1, 1]",
        "encoder.new.stem=8",
        "encoder.train=all",
    ];
    assert_eq!(set(&new).unwrap().encoder.new.unwrap().blocks, [1, 1]);
    for (texts, part) in [
        (&["epochs=0"][..], "epochs = 0: must be at least 1"),
        (
            &["decoder.dropout=1.5"],
            "decoder.dropout: must be in [0, 1)",
        ),
        (&["encoder.new.growth=8"], "lacks `blocks`"),
        (&["stage=distill"], "needs [distill]"),
    ] {
        let message = set(texts).unwrap_err().to_string();
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn mistakes_name_the_setting_and_its_type() {
    for (text, expected) in [
        (
            "decoder.knd=merge",
            "there is no setting decoder.knd; the nearest one is decoder.kind",
        ),
        (
            "lr=1",
            "there is no setting lr; the nearest one is optimizer.lr",
        ),
        (
            "hidden=1",
            "there is no setting hidden; the nearest one is decoder.hidden",
        ),
        (
            "epoch=1",
            "there is no setting epoch; the nearest one is epochs",
        ),
        (
            "zzzzzzzzzz=1",
            "there is no setting zzzzzzzzzz; `glimpse config` lists all",
        ),
        (
            "decoder=1",
            "decoder is a table; name one of its settings, as decoder.kind",
        ),
        (
            "decoder.kind=atention",
            "decoder.kind takes inject, par-inject, merge or attention, not the text `atention`",
        ),
        (
            "epochs=many",
            "epochs takes a whole number of 0 or more, not the text `many`",
        ),
        (
            "epochs=-1",
            "epochs takes a whole number of 0 or more, not -1",
        ),
        (
            "epochs=2.5",
            "epochs takes a whole number of 0 or more, not 2.5",
        ),
        (
            "optimizer.lr=nan",
            "optimizer.lr takes a number, not the text `nan`",
        ),
        (
            "decoder.tied=yes",
            "decoder.tied takes true or false, not the text `yes`",
        ),
        (
            "optimizer.betas=[1]",
            "optimizer.betas takes a list of two numbers, as [0.9, 0.999], not the list [1]",
        ),
        (
            "seed=1\nepochs=2",
            "seed takes a whole number of 0 or more, not the text `1\\nepochs=2`",
        ),
    ] {
        assert_eq!(Change::parse(text).unwrap_err(), expected, "{text}");
    }
    assert!(Change::parse("epochs").unwrap_err().contains("joined by ="));
    let change = |text| Change::parse(text).unwrap();
    assert!(
        change("decoder.hidden=9")
            .refusal()
            .unwrap()
            .contains("have these sizes")
    );
    assert!(change("optimizer.lr=9").refusal().is_none());
    let twice = check_once(&[change("seed=1"), change("epochs=1"), change("seed=2")]);
    assert_eq!(
        twice.unwrap_err(),
        "--set seed is there twice; leave one out"
    );
}
