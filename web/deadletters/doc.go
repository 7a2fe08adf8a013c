// Package deadletters is the page of what could not be processed, with the
// original bytes: browse it, redrive it once the cause is fixed, or purge it.
package deadletters
