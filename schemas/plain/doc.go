// Package plain makes text that others chose safe to show on a terminal: names, labels,
// annotations, file names and the errors that quote them.
//
// Contract: what comes out are graphic characters of Unicode and spaces, valid UTF-8.
// Everything else, that is control characters (ESC, CR, BEL, DEL, those of C1),
// format characters (which turn the direction of text round, or are invisible), line
// separators and bytes that are no UTF-8, is written as an escape that shows it: \x1b,
// \u202e. [Text] is for one value, and escapes line feeds and tabs as well, so that a value
// can make no line or column of its own. [Writer] is for everything that is written to
// somewhere, and lets line feeds and tabs pass. Neither escapes backslashes.
package plain
