// Package oncall is the page on which people see who is on call, now and in the next two
// weeks, stand in for each other, and say who is notified when.
package oncall
