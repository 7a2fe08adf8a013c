// Package silences is the page of silences: which alerts people are not notified of, and
// when.
package silences
