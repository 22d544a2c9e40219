//! The notation for Go struct layouts: which fields, in which order, and when each is left out.
//!
//! Go writes JSON in the order in which a struct declares its fields, so a hash over that JSON depends on the
//! declaration. A layout is one line of `layouts!`, for example `PROBE { exec: EXEC_ACTION*, timeoutSeconds: Int? }`:
//!
//! | kind | Go type | | presence | written when |
//! |---|---|---|---|---|
//! | `Text` `Bool` `Int` | string, bool, integer | | `!` | always; the zero value when missing |
//! | `Quantity` `IntOrString` `Time` | the Kubernetes types of that name | | `?` | not empty (`omitempty`, and `omitzero` for a time) |
//! | `Raw` | JSON that Go copies through | | `*` | the pointer is not nil |
//! | `[X]` `{X}` | slice, map with string keys | | `~` | always; `null` for a nil pointer |
//! | `NAME` | the struct of that layout | | | |

/// What Go makes of a JSON value.
#[derive(Debug)]
pub(super) enum Kind {
    /// A string, or a type of strings.
    Text,
    /// A boolean.
    Bool,
    /// An integer of any width.
    Int,
    /// A resource quantity, rewritten in canonical form.
    Quantity,
    /// A number or a string, kept as which of the two it is.
    IntOrString,
    /// A point in time, rewritten in UTC with whole seconds.
    Time,
    /// JSON that is copied through, keys sorted as the API server stores them.
    Raw,
    /// A slice.
    List(&'static Kind),
    /// A map from strings, keys sorted.
    Map(&'static Kind),
    /// A struct; fields that it does not name are dropped.
    Struct(&'static Layout),
}

/// When Go writes a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// Always, with the zero value when missing. Structs, quantities and int-or-strings held by value are always
    /// written even with `omitempty`, because Go never calls a struct empty.
    Always,
    /// Unless it is empty: `""`, `0`, `false`, `[]`, `{}`, a nil slice or map, the zero time.
    NonEmpty,
    /// Unless the pointer is nil; what it points to may be empty.
    NonNil,
    /// Always, `null` for a nil pointer.
    Nullable,
}

/// One field of a Go struct.
#[derive(Debug)]
pub(super) struct Field {
    /// The JSON name.
    pub(super) name: &'static str,
    /// What its value is.
    pub(super) kind: Kind,
    /// When it is written.
    pub(super) presence: Presence,
}

/// The fields of a Go struct in declaration order, embedded structs flattened.
pub(super) type Layout = [Field];

/// Declares layouts in the notation of the module documentation.
macro_rules! layouts {
    ($($layout:ident { $($name:ident: $kind:tt $presence:tt),* $(,)? })*) => {
        $(
            pub(super) static $layout: &Layout = &[$(Field {
                name: stringify!($name),
                kind: layouts!(@kind $kind),
                presence: layouts!(@presence $presence),
            }),*];
        )*
    };
    (@kind Text) => { Kind::Text };
    (@kind Bool) => { Kind::Bool };
    (@kind Int) => { Kind::Int };
    (@kind Quantity) => { Kind::Quantity };
    (@kind IntOrString) => { Kind::IntOrString };
    (@kind Time) => { Kind::Time };
    (@kind Raw) => { Kind::Raw };
    (@kind [$item:tt]) => { Kind::List(&layouts!(@kind $item)) };
    (@kind {$item:tt}) => { Kind::Map(&layouts!(@kind $item)) };
    (@kind $layout:ident) => { Kind::Struct($layout) };
    (@presence !) => { Presence::Always };
    (@presence ?) => { Presence::NonEmpty };
    (@presence *) => { Presence::NonNil };
    (@presence ~) => { Presence::Nullable };
}
pub(super) use layouts;
