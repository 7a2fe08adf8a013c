// Package notifier turns anomalies into alerts and tells people of them.
//
// One lane reads DERIVED and commits to ALERTING what became of each alert and
// which messages are to be sent: exactly once, whatever crashes. Behind it, two
// things read ALERTING. A follower keeps the bucket of alerts up to date, which
// the dashboard shows, and sees to it that each channel of the configuration
// has a sender. A sender works off the messages of one channel, in order, and
// records what became of each.
//
// A message is delivered at least once. After a graceful stop none is repeated;
// after a kill between the delivery and its record one may be, with the same
// idempotency key. What a channel refuses for good becomes a dead letter.
package notifier
