// Package alerts is the page of alerts: active alerts, resolved ones, and muting.
package alerts
