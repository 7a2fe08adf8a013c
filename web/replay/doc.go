// Package replay is the page on which a rule is tried on stored readings before it
// is enabled, and the replays of the API.
package replay
