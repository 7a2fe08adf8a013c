// Package alertingv1 defines the messages on alerting.<lane> and
// deliveries.<channel>: alerts, the notifications about them, and the outcomes of
// these.
package alertingv1
