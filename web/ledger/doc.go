// Package ledger is the page that accounts for everything that arrived: received
// is stored, a dead letter, on its way, or missing.
package ledger
