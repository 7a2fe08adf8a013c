// Package view holds the facts that more than one feature shows, as plain values:
// devices and their latest values, alerts, what an alert shows of its rule, ranges
// of time, and the errors of the sources. What one feature alone shows is in the
// package of the feature.
package view
