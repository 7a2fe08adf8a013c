// Package device is the page of one device: its latest values, its charts, the
// anomalies on them, and the summaries of its windows.
package device
