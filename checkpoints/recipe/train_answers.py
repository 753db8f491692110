"""Question answering alone, over the frozen vision tower of train.py: several questions about each picture.

    python train_answers.py             # to the end; continues from training/answers.pt

With one question for each picture, beside everything else, the encoder of questions did not learn to look for what is asked
about ("is there a cat?" stayed at chance). So it begins with the weights of the matching encoder, as BLIP's own does.
"""

import torch
from torch import nn

import model as models
import scene_grammar as grammar
import training
from train import decoder_ids, encoder_ids, padded

QUESTIONS = 4


def prepare(scenes, pictures, random):
    asked = [grammar.questions(scene, random) for scene in scenes for _ in range(QUESTIONS)]
    questions = padded([encoder_ids(question, random) for question, _ in asked])
    yield pictures, questions, padded([decoder_ids(answer) for _, answer in asked])


class Answers(nn.Module):
    def __init__(self, family):
        super().__init__()
        self.family = family
        matching, asking = family.retrieval.text_encoder, family.answering.text_encoder
        asking.embeddings.load_state_dict(matching.embeddings.state_dict())
        for asked, matched in zip(asking.encoder.layer, matching.encoder.layer):
            asked.load_state_dict(matched.state_dict())
        family.requires_grad_(False)
        family.answering.text_encoder.requires_grad_(True)
        family.answering.text_decoder.requires_grad_(True)

    def forward(self, pictures, questions, answers):
        with torch.no_grad():
            embeds = self.family.image_embeds(models.pixel_values(pictures))
        return {"answer": self.family.answer_loss(models.repeated(embeds, questions), questions, answers)}


if __name__ == "__main__":
    given = training.options(steps=800)
    torch.manual_seed(0)
    module = Answers(models.trained_family(training.FOLDER / "family.pt")).to(training.device())
    answering = module.family.answering
    layers = training.layer_matrices(answering.text_encoder.encoder, answering.text_decoder.bert.encoder)
    training.train("answers", module, training.make_optimizers(module, layers, 2e-3, 1e-3), prepare, given, {"answer": 1.0})
