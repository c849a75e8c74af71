#!/usr/bin/perl
# The tables are the truth: generated files, documents, headers and folders agree with them.
use v5.36;
use Test::More;
plan skip_all => "being written";
