#!/usr/bin/perl
# TLS towards clients and origins: leaves that today's clients accept, resumption across workers, upstream faults told in words, and the CA key in certgen alone.
use v5.36;
use Test::More;
plan skip_all => "being written";
