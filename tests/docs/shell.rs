//! Blocks of shell commands as words, as far as documentation needs it.

/// The commands of a script, each as its words. What a command writes into a file (`<<'EOF'`) is none.
pub(crate) fn commands(script: &str) -> Vec<Vec<String>> {
    let script = without_documents(script);
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let mut characters = script.chars().peekable();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, '\\') => {
                if characters.next_if_eq(&'\n').is_none() {
                    word.get_or_insert_default().extend(characters.next());
                }
            }
            (None, '#') if word.is_none() => while characters.next_if(|c| *c != '\n').is_some() {},
            (None, ' ') => words.extend(word.take()),
            (None, '\n' | '|' | ';' | '&') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}

/// The script without the texts that commands are given on their input.
fn without_documents(script: &str) -> String {
    let (mut kept, mut end) = (String::new(), None);
    for line in script.lines() {
        if let Some(word) = end {
            if line == word {
                end = None;
            }
            continue;
        }
        end = line.split_once("<<").map(|(_, word)| word.trim_matches('\''));
        kept += line;
        kept.push('\n');
    }
    kept
}

#[test]
fn a_script_is_read_as_a_shell_reads_it() {
    let script = "a 'b c' \"d\ne\" \\\n  f # g\ncat > x <<'EOF'\nh i\nEOF\nj | k; l\n";
    let expected: [&[&str]; 5] =
        [&["a", "b c", "d\ne", "f"], &["cat", ">", "x", "<<EOF"], &["j"], &["k"], &["l"]];
    assert_eq!(commands(script), expected);
}
