package view

import "errors"

// Errors that the sources of the pages return, wrapped with the details.
var (
	// ErrUnavailable means that a source cannot be reached now, or that no service
	// runs that could do what was asked. Asking again later may work.
	ErrUnavailable = errors.New("not available now")
	// ErrNotFound means that what was asked for does not exist, or no longer.
	ErrNotFound = errors.New("it is not there")
	// ErrConflict means that someone else has changed meanwhile what was to be
	// changed.
	ErrConflict = errors.New("someone else has changed it meanwhile")
	// ErrDraft means that what was to be stored does not fit; the details say why.
	ErrDraft = errors.New("it does not fit")
	// ErrOver means that the episode of an alert is over, so that nothing can be done about
	// it any more.
	ErrOver = errors.New("this episode is over")
	// ErrReadOnly means that a rule can only be changed elsewhere; the details say
	// where.
	ErrReadOnly = errors.New("the rule cannot be changed here")
)
