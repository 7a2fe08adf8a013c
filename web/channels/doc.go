// Package channels is the page on which people say who is notified and how: the channels,
// what became of their messages, and the phones and browsers that are notified by Web Push.
package channels
