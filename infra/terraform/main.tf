# The bucket, a role for machines that use it, and one for the machine that starts those.
# ../cloudformation/storage.yaml makes the same.
terraform {
  required_version = ">= 1.9"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

variable "bucket" {
  description = "Name of the bucket, unique in the world."
  type        = string
}

variable "trusted_service" {
  description = "Who takes the role: machines of `ray up`. For EKS see ../README.md."
  type        = string
  default     = "ec2.amazonaws.com"
}

resource "aws_s3_bucket" "store" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "store" {
  bucket                  = aws_s3_bucket.store.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_server_side_encryption_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_lifecycle_configuration" "store" {
  bucket = aws_s3_bucket.store.id

  # Parts of uploads that were never finished are invisible and are paid for.
  rule {
    id     = "abort-uploads"
    status = "Enabled"
    filter {}

    abort_incomplete_multipart_upload {
      days_after_initiation = 3
    }
  }
}

data "aws_iam_policy_document" "tls_only" {
  statement {
    effect    = "Deny"
    actions   = ["s3:*"]
    resources = [aws_s3_bucket.store.arn, "${aws_s3_bucket.store.arn}/*"]

    principals {
      type        = "*"
      identifiers = ["*"]
    }

    condition {
      test     = "Bool"
      variable = "aws:SecureTransport"
      values   = ["false"]
    }
  }
}

resource "aws_s3_bucket_policy" "store" {
  bucket = aws_s3_bucket.store.id
  policy = data.aws_iam_policy_document.tls_only.json
}

data "aws_iam_policy_document" "use" {
  statement {
    actions   = ["s3:ListBucket", "s3:ListBucketMultipartUploads"]
    resources = [aws_s3_bucket.store.arn]
  }

  statement {
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.store.arn}/*"]
  }
}

resource "aws_iam_policy" "use" {
  name   = "cgnet-store"
  policy = data.aws_iam_policy_document.use.json
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = [var.trusted_service]
    }
  }
}

resource "aws_iam_role" "cgnet" {
  name               = "cgnet"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

resource "aws_iam_role" "head" {
  name               = "cgnet-head"
  assume_role_policy = data.aws_iam_policy_document.trust.json
}

# What Ray's autoscaler asks of EC2: to end and to name machines of its own cluster alone.
data "aws_iam_policy_document" "launch" {
  statement {
    actions   = ["ec2:DescribeImages", "ec2:DescribeInstances", "ec2:RunInstances"]
    resources = ["*"]
  }

  statement {
    actions   = ["ec2:CreateTags"]
    resources = ["*"]

    condition {
      test     = "StringEquals"
      variable = "ec2:CreateAction"
      values   = ["RunInstances"]
    }
  }

  statement {
    actions   = ["ec2:CreateTags", "ec2:TerminateInstances"]
    resources = ["arn:aws:ec2:*:*:instance/*"]

    condition {
      test     = "StringEquals"
      variable = "aws:ResourceTag/ray-cluster-name"
      values   = ["cgnet"]
    }
  }

  statement {
    actions   = ["iam:PassRole"]
    resources = [aws_iam_role.cgnet.arn]
  }
}

resource "aws_iam_policy" "launch" {
  name   = "cgnet-launch"
  policy = data.aws_iam_policy_document.launch.json
}

resource "aws_iam_role_policy_attachment" "use" {
  for_each   = toset([aws_iam_role.cgnet.name, aws_iam_role.head.name])
  role       = each.key
  policy_arn = aws_iam_policy.use.arn
}

# Each machine pulls the image.
resource "aws_iam_role_policy_attachment" "pull" {
  for_each   = toset([aws_iam_role.cgnet.name, aws_iam_role.head.name])
  role       = each.key
  policy_arn = "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryReadOnly"
}

resource "aws_iam_role_policy_attachment" "launch" {
  role       = aws_iam_role.head.name
  policy_arn = aws_iam_policy.launch.arn
}

resource "aws_iam_instance_profile" "cgnet" {
  name = "cgnet"
  role = aws_iam_role.cgnet.name
}

resource "aws_iam_instance_profile" "head" {
  name = "cgnet-head"
  role = aws_iam_role.head.name
}

output "store" {
  description = "What --store takes."
  value       = "s3://${aws_s3_bucket.store.id}"
}

output "instance_profile_arn" {
  description = "For the workers of ../ray-up/aws.yaml."
  value       = aws_iam_instance_profile.cgnet.arn
}

output "head_instance_profile_arn" {
  description = "For its head."
  value       = aws_iam_instance_profile.head.arn
}

output "policy_arn" {
  description = "What a role of EKS needs."
  value       = aws_iam_policy.use.arn
}
