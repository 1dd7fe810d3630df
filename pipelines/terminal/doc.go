// Package terminal draws progress on a terminal: one line below the scrolling text.
//
// Contract: the text and the line never mix. What a terminal would act on is escaped. Without a terminal, as in a file or a pipe,
// progress is a line of its own now and then.
package terminal
