// Package plain makes text that others chose safe to show on a terminal: names, labels,
// annotations, file names, and the errors that quote them.
//
// Contract: the output is valid UTF-8 of graphic characters and spaces. Everything else is written
// as a visible escape, such as \x1b or \u202e: control characters (ESC, CR, BEL, DEL, those of C1),
// format characters (which reverse the direction of text, or are invisible), line separators, and
// bytes that are not UTF-8. [Text] is for one value, and escapes line feeds and tabs as well, so
// that a value cannot start a line or column of its own. [Writer] is for everything that is written
// somewhere, and lets line feeds and tabs pass. Neither escapes backslashes.
package plain
