// Package terminal draws on a terminal: one line below the text that scrolls, which shows how far something is.
//
// Contract: text and line never mix. What a terminal would act on is escaped. Where there is no terminal, as in a file or a
// pipe, progress is a line of its own now and then.
package terminal
