// Package audit is the page of who changed what, and the same in the API. The entries can
// only be read.
package audit
