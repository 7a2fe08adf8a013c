// Package alerts is the page of alerts: what fires, what is over, and muting.
package alerts
