// Package overview is the first page: all devices with their latest values, what
// fires, and how to send the first reading.
package overview
