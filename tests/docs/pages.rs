//! The pages of the documentation, and the blocks of code in them.

use std::fs;
use std::path::{Path, PathBuf};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// One page.
pub(crate) struct Page {
    /// Its path below the root.
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

/// A block of code.
pub(crate) struct Block {
    /// The word behind its fence.
    pub(crate) language: String,
    /// What a comment `<!-- run: NAME -->` right before it says; `None` without one.
    #[allow(dead_code, reason = "only the test on the real control plane runs blocks")]
    pub(crate) mark: Option<String>,
    pub(crate) text: String,
}

impl Page {
    pub(crate) fn read(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        let text = fs::read_to_string(root().join(&path))
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Self { path, text }
    }

    /// The blocks in their order.
    pub(crate) fn blocks(&self) -> Vec<Block> {
        self.parts().1
    }

    /// The page without its blocks.
    pub(crate) fn prose(&self) -> String {
        self.parts().0
    }

    fn parts(&self) -> (String, Vec<Block>) {
        let (mut prose, mut blocks) = (String::new(), Vec::new());
        let (mut open, mut mark) = (None::<(usize, Block)>, None);
        for line in self.text.lines() {
            let bare = line.trim_start();
            if let Some((indent, mut block)) = open.take() {
                if bare == "```" {
                    blocks.push(block);
                } else {
                    block.text += line.get(indent..).unwrap_or(bare);
                    block.text.push('\n');
                    open = Some((indent, block));
                }
            } else if let Some(language) = bare.strip_prefix("```") {
                let block = Block { language: language.to_owned(), mark: mark.take(), text: String::new() };
                open = Some((line.len() - bare.len(), block));
            } else {
                if !bare.is_empty() {
                    let name = bare.strip_prefix("<!-- run: ").and_then(|rest| rest.strip_suffix(" -->"));
                    mark = name.map(str::to_owned);
                }
                prose += line;
                prose.push('\n');
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", self.path.display());
        (prose, blocks)
    }
}
