// Package devices is who may connect: the credentials of devices and gateways, the codes
// with which they are claimed, and what becomes of devices without one.
package devices
