// Package notifier turns anomalies into alerts and notifies people of them.
//
// One lane reads DERIVED and commits to ALERTING how each alert changed and which
// messages are to be sent: exactly once, whatever crashes. Two parts read ALERTING.
// A dispatcher keeps the bucket of alerts, which the dashboard shows, up to date
// and ensures that every configured channel has a sender. A sender delivers the
// messages of one channel, in order, and records the outcome of each.
//
// A message is delivered at least once. After a graceful stop none is repeated.
// After a kill between the delivery and its record one may be repeated, with the
// same idempotency key. A message that a channel refuses permanently becomes a dead
// letter.
package notifier
